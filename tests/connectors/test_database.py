"""Locating and opening a database: what is refused, and why."""

import os
from contextlib import closing
from errno import ENOSPC
from pathlib import Path

import pytest

from connectors.database import locate
from connectors.errors import CannotStartError
from connectors.sqlite import (
    SqliteError,
    connect,
    connect_reader,
    execute,
    rerun_helps,
    scalar,
    sqlite_says,
)
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of


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


def test_sqlite_is_quoted_without_the_driver_and_the_statement(path: Path) -> None:
    with closing(connect_reader(path)) as connection, pytest.raises(SqliteError) as error:
        execute(connection, "SELECT nonsense FROM ceramic_one_event")
    assert sqlite_says(error.value) == "no such column: nonsense"


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (OSError(ENOSPC, "No space left on device"), True),
        # what SQLite says while Arrow fetches rows
        (OSError("[SQLite] Failed to step query: disk I/O error"), True),
        (OSError("[SQLite] Failed to step query: database disk image is malformed"), False),
    ],
)
def test_running_again_helps_after_what_passes_and_not_after_damage(
    error: OSError, *, helps: bool
) -> None:
    assert rerun_helps(error) == helps
