"""A WAL next to a database is applied only if it belongs to it; else no byte changes."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from connectors.claim import claim
from connectors.errors import CannotStartError
from connectors.snapshot import Reader
from connectors.sqlite import connect, execute, scalar
from tests.support.job import chain, store
from tests.support.other_programs import leave_wal
from tests.support.program import ceramic_order, run

NUMBER = "UPDATE ceramic_one_event SET delivered = 5 WHERE rowid = 2"
GROW = "INSERT INTO _sqlx_migrations VALUES (99, hex(zeroblob(50000)), 0, 1, x'', 0)"
SHRINK = "DELETE FROM _sqlx_migrations WHERE version = 99"
COUNT = "SELECT count(delivered) FROM ceramic_one_event"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def refusal(path: Path) -> str:
    """What a claim says that is refused and changes no byte of any file."""
    before = bytes_of(path.parent)
    with pytest.raises(CannotStartError) as refused:
        claim(path)
    assert bytes_of(path.parent) == before
    assert refused.value.unchanged == "Nothing was changed."
    return str(refused.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return store(tmp_path / "store" / "node.db", chain(30))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return store(tmp_path / "other" / "other.db", chain(3))


@pytest.mark.parametrize("shm", ["kept", "gone", "foreign"])
def test_the_wal_of_a_killed_program_is_brought_into_its_database(path: Path, shm: str) -> None:
    leave_wal(path, GROW, NUMBER)
    index = path.with_name("node.db-shm")
    if shm != "kept":
        index.unlink()
    if shm == "foreign":
        index.write_bytes(os.urandom(32768))
    with claim(path) as held:
        held.begin()
        assert scalar(held.connection, COUNT) == 2
    assert list(bytes_of(path.parent)) == ["node.db"]


@pytest.mark.parametrize("cut", [1, 5000])
def test_a_wal_with_a_torn_end_counts_up_to_its_last_commit(path: Path, cut: int) -> None:
    leave_wal(path, NUMBER, GROW)
    wal = path.with_name("node.db-wal")
    os.truncate(wal, wal.stat().st_size - cut)
    with closing(claim(path)) as held:
        assert scalar(held.connection, COUNT) == 2


def test_a_wal_whose_pages_are_partly_in_the_database_is_taken(path: Path) -> None:
    leave_wal(path, GROW, NUMBER)
    wal = path.with_name("node.db-wal").read_bytes()
    with closing(connect(path, "rw")) as connection:
        assert scalar(connection, COUNT) == 2
    path.with_name("node.db-wal").write_bytes(wal)
    os.utime(path, (2e9, 2e9))
    with closing(claim(path)) as held:
        assert scalar(held.connection, COUNT) == 2


@pytest.mark.parametrize("content", [b"", b"x", bytes(40_000), b"no WAL at all" * 4000])
def test_what_is_no_wal_is_no_hindrance(path: Path, content: bytes) -> None:
    path.with_name("node.db-wal").write_bytes(content)
    with closing(claim(path)) as held:
        assert scalar(held.connection, COUNT) == 1


REFUSED = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON ceramic_one_event BEGIN SELECT 1; END",
    "an index": "CREATE UNIQUE INDEX i ON ceramic_one_event (delivered) WHERE rowid > 1",
    "another table": "ALTER TABLE ceramic_one_block RENAME TO block",
    "the largest number": f"UPDATE ceramic_one_event SET delivered = {2**63 - 1} WHERE rowid = 2",
    "a text": "UPDATE ceramic_one_event SET delivered = 'x' WHERE rowid = 2",
}
"""What a WAL of the database's own brings that a run refuses."""


@pytest.mark.parametrize("has_shm", [True, False])
@pytest.mark.parametrize("brought", REFUSED)
def test_a_refused_claim_leaves_the_wal_and_the_database(
    path: Path, brought: str, has_shm: bool
) -> None:
    leave_wal(path, GROW, REFUSED[brought])
    index = path.with_name("node.db-shm")
    if not has_shm:
        index.unlink()
    before = bytes_of(path.parent)
    with pytest.raises(CannotStartError) as refused:
        claim(path)
    after = bytes_of(path.parent)
    # the index of the WAL is made anew by whoever opens a database
    assert after.keys() == before.keys()
    assert {name: after[name] for name in ("node.db", "node.db-wal")} == {
        name: before[name] for name in ("node.db", "node.db-wal")
    }
    assert refused.value.unchanged == "Nothing was changed."


def test_what_is_no_wal_stays_where_a_claim_is_refused(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, REFUSED["a trigger"])
    path.with_name("node.db-wal").write_bytes(b"no WAL at all" * 4000)
    refusal(path)


@pytest.mark.parametrize(
    "arguments", [("--memory-limit", "50MB"), ("--memory-limit", "50MB", "--follow")]
)
def test_a_run_that_can_not_end_leaves_the_wal(path: Path, arguments: tuple[str, ...]) -> None:
    leave_wal(path, GROW, NUMBER)
    before = bytes_of(path.parent)
    ended = run(ceramic_order("run", path, *arguments), code=2)
    assert "too little. Nothing was changed." in ended.err
    after = bytes_of(path.parent)
    del before["node.db-shm"], after["node.db-shm"]
    assert after == before
    run(ceramic_order("run", path))
    assert bytes_of(path.parent).keys() == {"node.db"}


def test_a_claim_that_is_closed_before_it_begins_leaves_the_wal(path: Path) -> None:
    leave_wal(path, NUMBER)
    before = bytes_of(path.parent)
    with claim(path) as held, closing(held.connect(path)) as other:
        assert scalar(other, COUNT) == 2
    held.close()
    assert bytes_of(path.parent).keys() == before.keys()
    assert path.with_name("node.db-wal").read_bytes() == before["node.db-wal"]
    with claim(path) as held:
        held.begin()
        held.begin()
    assert list(bytes_of(path.parent)) == ["node.db"]


def refused_after_the_beginning(path: Path) -> None:
    with claim(path) as held:
        held.begin()
        raise CannotStartError("A process is not there")


def test_a_refusal_after_the_beginning_says_what_became_of_the_wal(path: Path) -> None:
    leave_wal(path, NUMBER)
    brought_in = (
        "No number was given; what a program that was killed had left in `node.db-wal` is in the "
        "database now."
    )
    for unchanged in (brought_in, "Nothing was changed."):
        with pytest.raises(CannotStartError) as refused:
            refused_after_the_beginning(path)
        assert refused.value.unchanged == unchanged


@pytest.mark.parametrize("statements", [(GROW, NUMBER), (NUMBER,)])
def test_the_wal_of_another_database_is_refused(
    path: Path, other: Path, statements: tuple[str, ...]
) -> None:
    leave_wal(other, *statements)
    shutil.copyfile(other.with_name("other.db-wal"), path.with_name("node.db-wal"))
    assert "`node.db-wal` does not belong to" in refusal(path)


def test_the_wal_of_a_longer_database_with_the_same_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "longer").mkdir()
    (tmp_path / "store").mkdir()
    path = store(tmp_path / "store" / "node.db", chain(4))
    longer = store(tmp_path / "longer" / "node.db", chain(9, seed=1))
    leave_wal(longer, "DELETE FROM ceramic_one_event WHERE rowid = 9")
    shutil.copyfile(f"{longer}-wal", f"{path}-wal")
    # all of the event table, as good as the one that is there
    assert "it was written for a database of `14` pages, not `12`" in refusal(path)


def test_a_wal_of_another_kind_of_database_is_refused(path: Path, tmp_path: Path) -> None:
    for page_bytes in (512, 4096):
        foreign = tmp_path / f"{page_bytes}.db"
        page_size = f"PRAGMA page_size={page_bytes}"
        leave_wal(foreign, page_size, "PRAGMA journal_mode=WAL", "CREATE TABLE t (a)")
        shutil.copyfile(f"{foreign}-wal", path.with_name("node.db-wal"))
        assert "`node.db-wal`" in refusal(path)


@pytest.mark.parametrize("statements", [(GROW,), (NUMBER,), (NUMBER, GROW, SHRINK)])
def test_a_wal_that_is_older_than_the_database_is_refused(
    path: Path, statements: tuple[str, ...]
) -> None:
    leave_wal(path, *statements)
    older = path.with_name("node.db-wal")
    kept = older.read_bytes()
    age = older.stat().st_mtime - 100
    with closing(connect(path, "rw")) as connection:
        execute(connection, "UPDATE ceramic_one_event SET delivered = rowid")
        for version in range(100, 110):
            execute(connection, GROW.replace("99", str(version)))
    older.write_bytes(kept)
    os.utime(older, (age, age))
    assert "does not belong to" in refusal(path)


def test_where_only_times_speak_against_a_wal_the_clock_is_named(path: Path) -> None:
    leave_wal(path, NUMBER)
    os.utime(path, (2e9, 2e9))
    said = refusal(path)
    assert "it is older than the database by the times of both files" in said
    assert (
        "If the clock was set back, let the program that wrote it open the database once." in said
    )


def test_a_database_that_is_older_than_its_wal_is_refused(path: Path) -> None:
    kept = path.read_bytes()
    with closing(connect(path, "rw")) as connection:
        for version in range(100, 110):
            execute(connection, GROW.replace("99", str(version)))
    leave_wal(path, GROW)
    path.write_bytes(kept)
    assert "does not belong to" in refusal(path)


def test_a_transaction_that_was_interrupted_in_another_journal_mode_is_refused(path: Path) -> None:
    path.with_name("node.db-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(600))
    assert "holds a transaction that was interrupted" in refusal(path)


@pytest.mark.parametrize(("shm", "static"), [("kept", False), ("kept", True), ("gone", False)])
def test_whoever_reads_refuses_a_foreign_wal_as_a_run_does(
    path: Path, other: Path, shm: str, *, static: bool
) -> None:
    leave_wal(other, GROW, NUMBER)
    for suffix in ("-wal", "-shm") if shm == "kept" else ("-wal",):
        shutil.copyfile(f"{other}{suffix}", path.with_name(f"node.db{suffix}"))
    said, before = refusal(path), bytes_of(path.parent)
    with (
        pytest.raises(CannotStartError) as refused,
        Reader(path, static=static) as reader,
        closing(reader(path)) as connection,
    ):
        reader.require_orderable(connection)
    assert str(refused.value) == said
    # damage that comes from the WAL is named so: a repair would bring the WAL into the database
    with pytest.raises(CannotStartError) as refused, Reader(path, static=static):
        raise OSError(0, "database disk image is malformed")
    assert str(refused.value) == said
    assert bytes_of(path.parent) == before
