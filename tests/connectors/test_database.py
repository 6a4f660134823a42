"""Opening a database: what is refused and why, and who else has it."""

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from connectors.claim import ClaimSettings, claim
from connectors.database import locate, read_schema
from connectors.errors import CannotStartError
from connectors.snapshot import Reader
from connectors.sqlite import SqliteError, connect, connect_reader, execute, scalar, sqlite_says
from flows.synth.database import create_database
from flows.synth.schema import SchemaVersion
from tests.support.job import chain, deliver, store
from tests.support.other_programs import bytes_of, holding, is_in_use
from tests.support.program import python, ready, run

IMPATIENT = ClaimSettings(busy_seconds=0.2)
READ = "SELECT count(*) FROM ceramic_one_event"
OTHER_RUN = """
import sys
from pathlib import Path
from connectors.claim import claim
held = claim(Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.read()
held.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store(tmp_path / "node.db", chain(3))


def refusal(path: Path, *, writable: bool = False) -> str:
    with pytest.raises(CannotStartError) as refused:
        locate(path, writable=writable)
    return str(refused.value)


def test_a_database_is_located_through_links_of_any_kind(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path.name)
    assert locate(tmp_path / "link", writable=True) == path.resolve()


def test_what_is_no_file_with_something_in_it_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.db")
    assert "No such file" in refusal(tmp_path / "missing folder" / "node.db")
    assert "is a directory" in refusal(tmp_path)
    (tmp_path / "empty.db").touch()
    assert "is empty" in refusal(tmp_path / "empty.db")
    assert "Not a directory" in refusal(tmp_path / "empty.db" / "node.db")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert "loop" in refusal(tmp_path / "loop")
    assert "name too long" in refusal(tmp_path / ("n" * 300)).lower()


def test_a_database_with_two_names_is_refused(path: Path, tmp_path: Path) -> None:
    os.link(path, tmp_path / "other.db")
    assert "2 hard links" in refusal(path)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_database_with_a_companion_that_has_two_names_is_refused(
    path: Path, tmp_path: Path, suffix: str
) -> None:
    companion = tmp_path / (path.name + suffix)
    other = tmp_path / "other"
    other.write_bytes(b"something")
    companion.symlink_to(other)
    assert "is a symbolic link" in refusal(path)
    companion.unlink()
    os.link(other, companion)
    assert "2 hard links" in refusal(path)
    companion.unlink()
    os.mkfifo(companion)
    assert "no regular file" in refusal(path)


def test_a_read_only_database_can_be_read_but_not_ordered(path: Path) -> None:
    path.chmod(0o444)
    assert locate(path) == path.resolve()
    assert "is read-only" in refusal(path, writable=True)


@pytest.mark.parametrize(
    "name",
    [
        "a ?mode=memory.db",
        "y#frag.db",
        "100%.db",
        "%41.db",
        "ü &x=1.db",
        "a'b\"c.db",
        ":memory:",
        "file:x.db",
        "-wal",
    ],
)
def test_a_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / name, chain(3))
    with closing(connect(locate(path, writable=True), "rw")) as connection:
        execute(
            connection,
            "UPDATE ceramic_one_event SET delivered = 7 WHERE delivered IS NULL AND rowid = 2",
        )
    with closing(connect_reader(path)) as connection:
        assert scalar(connection, "SELECT max(delivered) FROM ceramic_one_event") == 7
    assert list(bytes_of(tmp_path)) == [name]


def test_reading_leaves_no_trace(path: Path, tmp_path: Path) -> None:
    before = bytes_of(tmp_path)
    with closing(connect_reader(path)) as connection:
        assert scalar(connection, "SELECT count(*) FROM ceramic_one_event") == 3
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize(
    ("version", "has_init_cid"), [("v0.30", False), ("v0.36", True), ("v0.38", True)]
)
def test_every_schema_version_is_accepted(
    tmp_path: Path, version: SchemaVersion, *, has_init_cid: bool
) -> None:
    path = tmp_path / "node.db"
    with closing(create_database(path, schema_version=version)) as connection:
        schema = read_schema(connection, path)
    assert schema.has_init_cid == has_init_cid
    assert schema.migration is not None


def test_a_database_without_migrations_is_accepted(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, "DROP TABLE _sqlx_migrations")
        assert read_schema(connection, path).migration is None


def test_a_missing_table_or_column_is_named(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, "ALTER TABLE ceramic_one_block RENAME COLUMN bytes TO contents")
        with pytest.raises(CannotStartError, match=r"column `ceramic_one_block\.bytes` is missing"):
            read_schema(connection, path)
        execute(connection, "DROP TABLE ceramic_one_event_block")
        with pytest.raises(CannotStartError, match="table `ceramic_one_event_block` is missing"):
            read_schema(connection, path)


@pytest.mark.parametrize(
    "content", [b"no database, " * 500, b"SQLite format 3\0" + b"\xff" * 5000, b"x"]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(content)
    with (
        closing(connect_reader(path)) as connection,
        pytest.raises(CannotStartError, match=r"Can't read|is not a ceramic-one database"),
    ):
        read_schema(connection, path)


def test_an_idle_connection_of_another_process_is_noticed(path: Path) -> None:
    assert not is_in_use(path)
    with holding(path, READ):
        assert is_in_use(path)
    assert not is_in_use(path)


def test_the_probe_changes_nothing(path: Path, tmp_path: Path) -> None:
    before = bytes_of(tmp_path)
    assert not is_in_use(path)
    assert bytes_of(tmp_path) == before


def test_a_database_that_is_in_use_is_not_claimed(path: Path, tmp_path: Path) -> None:
    with holding(path, READ):
        before = bytes_of(tmp_path)
        with pytest.raises(CannotStartError, match="is open in another process"):
            claim(path, IMPATIENT)
        assert bytes_of(tmp_path).keys() == before.keys()
    claim(path).close()


def test_two_runs_exclude_each_other_and_the_first_is_unharmed(path: Path, tmp_path: Path) -> None:
    with ready(python("-c", OTHER_RUN, path)) as first:
        with pytest.raises(CannotStartError, match="Another `ceramic-order run`"):
            claim(path)
        assert first.poll() is None
        with pytest.raises(CannotStartError, match="Another `ceramic-order run`"):
            claim(path)
    assert first.returncode == 0
    claim(path).close()
    assert list(bytes_of(tmp_path)) == [path.name]


def test_a_lock_file_left_by_a_kill_does_no_harm(path: Path, tmp_path: Path) -> None:
    with ready(python("-c", OTHER_RUN, path)) as killed:
        killed.kill()
    assert (tmp_path / (path.name + "-order-lock")).exists()
    held = claim(path)
    with pytest.raises(CannotStartError):
        claim(path)
    held.close()
    assert list(bytes_of(tmp_path)) == [path.name]


def test_sqlite_is_quoted_without_the_driver_and_the_statement(path: Path) -> None:
    with closing(connect_reader(path)) as connection, pytest.raises(SqliteError) as error:
        execute(connection, "SELECT nonsense FROM ceramic_one_event")
    assert sqlite_says(error.value) == "no such column: nonsense"


ONE_EVENT = "ceramic_one_event"
ADD_TRIGGER = (
    "CREATE TRIGGER counts AFTER UPDATE ON Ceramic_One_Event "
    "BEGIN UPDATE ceramic_one_block SET bytes = x''; END"
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([ADD_TRIGGER], "has triggers on `ceramic_one_event`"),
        ([f"CREATE INDEX odd ON {ONE_EVENT} (delivered % 10)"], "`odd` is on an expression"),
        ([f"CREATE UNIQUE INDEX odd ON {ONE_EVENT} (cid, delivered)"], "`odd`"),
        ([f"ALTER TABLE {ONE_EVENT} ADD COLUMN rowid TEXT"], "a column of its own named `rowid`"),
        ([f"ALTER TABLE {ONE_EVENT} ADD COLUMN twice AS (delivered * 2)"], "twice` is generated"),
        (
            [
                f"ALTER TABLE {ONE_EVENT} RENAME TO events",
                f"CREATE VIEW {ONE_EVENT} AS SELECT * FROM events",
            ],
            "is a view",
        ),
        (
            [
                f"DROP TABLE {ONE_EVENT}",
                f"CREATE TABLE {ONE_EVENT} (order_key, cid PRIMARY KEY, delivered) WITHOUT ROWID",
            ],
            "is a table without rowids",
        ),
        (
            [
                f"DROP TABLE {ONE_EVENT}",
                f"CREATE TABLE {ONE_EVENT} (order_key, cid, delivered TEXT)",
            ],
            "has the type `TEXT`",
        ),
        ([f"UPDATE {ONE_EVENT} SET delivered = x'01' WHERE rowid = 1"], "a blob of 1 bytes"),
        ([f"UPDATE {ONE_EVENT} SET delivered = 'many' WHERE rowid = 1"], "the text `many`"),
        ([f"UPDATE {ONE_EVENT} SET delivered = 2.5 WHERE rowid = 1"], "the real number `2.5`"),
        ([f"UPDATE {ONE_EVENT} SET delivered = {2**63 - 1} WHERE rowid = 1"], "hardly any is left"),
    ],
)
def test_a_database_in_which_a_number_would_do_more_or_can_not_be_is_refused(
    path: Path, tmp_path: Path, statements: list[str], words: str
) -> None:
    with closing(connect(path, "rw")) as connection:
        for statement in statements:
            execute(connection, statement)
    before = bytes_of(tmp_path)
    with pytest.raises(CannotStartError) as run:
        claim(path)
    assert words in str(run.value)
    with (
        Reader(path) as reader,
        closing(reader(path)) as connection,
        pytest.raises(CannotStartError) as dry_run,
    ):
        reader.require_orderable(connection)
    assert str(dry_run.value) == str(run.value)
    assert bytes_of(tmp_path) == before


def test_indices_and_tables_that_forbid_nothing_are_no_hindrance(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, f"CREATE INDEX more ON {ONE_EVENT} (delivered) WHERE delivered IS NULL")
        execute(connection, "CREATE TABLE other (number REFERENCES ceramic_one_event (delivered))")
    claim(path).close()
    assert not is_in_use(path)


def test_strict_tables_are_ordered_as_others_are(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        columns = "order_key BLOB UNIQUE, cid BLOB PRIMARY KEY, delivered INTEGER UNIQUE"
        execute(connection, f"CREATE TABLE strict_events ({columns}, init_cid BLOB) STRICT")
        execute(
            connection,
            "INSERT INTO strict_events (rowid, order_key, cid, delivered, init_cid) "
            f"SELECT rowid, order_key, cid, delivered, init_cid FROM {ONE_EVENT}",
        )
        execute(connection, f"DROP TABLE {ONE_EVENT}")
        execute(connection, f"ALTER TABLE strict_events RENAME TO {ONE_EVENT}")
    claim(path).close()
    assert deliver(path).delivered == 2


def test_a_lock_file_that_is_not_ours_is_named(path: Path, tmp_path: Path) -> None:
    lock = tmp_path / (path.name + "-order-lock")
    (tmp_path / "other").write_text("precious")
    lock.symlink_to(tmp_path / "other")
    with pytest.raises(CannotStartError, match="something else has this name"):
        claim(path)
    assert lock.is_symlink()
    assert (tmp_path / "other").read_text() == "precious"


OTHER_USER = 65534
"""Of `nobody` on most systems."""
CLAIMED_BY_ANOTHER_USER = """
import os, sys
from pathlib import Path
from connectors.claim import claim
from connectors.errors import CannotStartError
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
try:
    claim(Path(sys.argv[1]))
except CannotStartError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_lock_file_of_another_user_is_told_with_its_owner_and_what_to_do() -> None:
    # the folders of the tests are closed to other users
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = store(folder / "node.db", chain(3))
        path.chmod(0o666)
        lock = folder / "node.db-order-lock"
        lock.touch(0o600)
        before = bytes_of(folder)
        said = run(python("-c", CLAIMED_BY_ANOTHER_USER, path, OTHER_USER)).out
        assert f"Can't open the lock file `{lock}`: it belongs to user `root`" in said
        assert "Nothing was changed." in said
        assert "left from one that was killed: remove it." in said
        assert bytes_of(folder) == before
