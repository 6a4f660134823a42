"""Reading a database leaves no trace, whatever lies next to it and whoever has it open."""

import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.snapshot import Reader
from connectors.sqlite import execute, scalar
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of, is_in_use, kept_open, leave_a_wal
from tests.support.program import python, run


def count(reader: Reader) -> int:
    with closing(reader(reader.path)) as connection:
        return int(scalar(connection, "SELECT count(*) FROM ceramic_one_event"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Five events, alone in a folder."""
    folder = tmp_path / "store"
    folder.mkdir()
    return store(folder / "node.db", chain(5))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("static", [False, True])
def test_a_database_alone_is_read_where_it_is(
    database: Path, temporary: Path, static: bool
) -> None:
    before = bytes_of(database.parent)
    with Reader(database, static=static) as reader:
        assert count(reader) == 5
        assert not list(temporary.iterdir())
    assert bytes_of(database.parent) == before


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("with_shm", [False, True])
def test_what_a_killed_process_left_in_its_log_is_read_and_not_a_byte_of_it_changed(
    database: Path, temporary: Path, static: bool, with_shm: bool
) -> None:
    leave_a_wal(database)
    if not with_shm:
        database.with_name("node.db-shm").unlink()
    before = bytes_of(database.parent)
    with Reader(database, static=static) as reader:
        assert not reader.in_use
        assert count(reader) == 4
        assert bool(list(temporary.iterdir())) == bool(reader.journals) == (static or not with_shm)
    assert bytes_of(database.parent) == before
    assert not list(temporary.iterdir())


def test_an_interrupted_transaction_of_an_older_journal_mode_is_undone_in_a_private_copy(
    database: Path,
) -> None:
    interrupted = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=DELETE")
connection.execute("PRAGMA cache_spill=1")
connection.execute("PRAGMA cache_size=1")
connection.execute("BEGIN")
connection.execute("CREATE TABLE filler (content)")
connection.execute("DELETE FROM ceramic_one_event")
for _ in range(100):
    connection.execute("INSERT INTO filler VALUES (randomblob(4000))")
os._exit(0)
"""
    run(python("-c", interrupted, database))
    before = bytes_of(database.parent)
    assert before["node.db-journal"]
    with Reader(database) as reader:
        assert count(reader) == 5
    assert bytes_of(database.parent) == before


def test_a_live_database_is_read_as_of_its_last_commit_and_neither_it_nor_its_log_changes(
    database: Path,
) -> None:
    with kept_open(database):
        kept = """
import pathlib, sys
for name in sys.argv[1:]:
    print(pathlib.Path(name).read_bytes().hex())
"""
        seen = python("-c", kept, database, f"{database}-wal")
        before = run(seen).out
        with Reader(database) as reader:
            assert reader.in_use
            assert count(reader) == 4
        assert run(seen).out == before


def test_the_locks_of_a_live_database_outlast_being_read(database: Path) -> None:
    with kept_open(database):
        with Reader(database) as reader:
            count(reader)
        assert is_in_use(database)
    assert not is_in_use(database)


def test_a_static_reader_refuses_a_live_database(database: Path) -> None:
    with kept_open(database), pytest.raises(CannotStartError, match="is open in another process"):
        Reader(database, static=True)


def test_a_database_that_changes_while_it_is_read_is_noticed(database: Path) -> None:
    stack = ExitStack()
    count(stack.enter_context(Reader(database)))
    leave_a_wal(database)
    with pytest.raises(InterruptedRunError, match="was changed by another process"):
        stack.close()


def read_while_it_changes(database: Path) -> None:
    with Reader(database) as reader, closing(reader(database)) as connection:
        whole = database.read_bytes()
        database.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
        execute(connection, "SELECT * FROM ceramic_one_event")


def test_an_error_that_a_change_led_to_is_reported_as_the_change(database: Path) -> None:
    with pytest.raises(InterruptedRunError, match="was changed by another process"):
        read_while_it_changes(database)


def test_a_copy_for_which_there_is_no_room_is_refused(database: Path, temporary: Path) -> None:
    leave_a_wal(database)
    database.with_name("node.db-shm").unlink()
    # holes take no room on this disk, but would in a copy
    with database.open("r+b") as file:
        file.truncate(8 << 40)
    before = database.stat()
    with pytest.raises(CannotStartError, match="Set TMPDIR"), Reader(database):
        pass
    assert database.stat().st_mtime_ns == before.st_mtime_ns
    assert not list(temporary.iterdir())


def test_a_reader_names_what_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match="No such file or directory"):
        Reader(tmp_path / "nowhere.db")


def test_a_connection_can_not_write(database: Path) -> None:
    with (
        Reader(database) as reader,
        closing(reader(database)) as connection,
        pytest.raises(Exception, match="readonly"),
    ):
        execute(connection, "UPDATE ceramic_one_event SET delivered = 1")
