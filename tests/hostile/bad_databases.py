"""What is named as a database and is none, or none that can be ordered: the rows of a table."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, socket

from connectors.sqlite import connect, execute
from tests.support.job import chain, store
from tests.support.other_programs import holding, leave_a_wal
from tests.support.program import python, ready

EVENTS = chain(4)
TABLE = "ceramic_one_event"
ONE_PAGE = 4096

Make = Callable[[Path], object]
"""Makes what is bad at a path."""

READERS = frozenset({"status", "why", "replay", "verify"})
"""Commands that need not be able to write, nor to foretell what a run would do."""
LOOKERS = READERS | {"missing", "dry run"}
"""Those that change no database."""
NONE: frozenset[str] = frozenset()
ALL = LOOKERS | {"run", "follow", "bytewax"}


@dataclass(frozen=True)
class Bad:
    """One row."""

    make: Make
    says: str
    """Part of each refusal."""
    fine: frozenset[str] = NONE
    """Commands that work on it."""
    meanwhile: Callable[[Path], AbstractContextManager[object]] = lambda _: nullcontext()
    """What goes on while commands are tried."""
    skipped: frozenset[str] = NONE
    """Commands that are not tried: they wait."""
    is_rare: bool = False
    """Is tried by `make soak` alone."""


def _good(path: Path) -> None:
    store(path, EVENTS)


def _changed(*statements: str) -> Make:
    """A database in which these were executed."""

    def make(path: Path) -> None:
        _good(path)
        with closing(connect(path, "rw")) as connection:
            for statement in statements:
                execute(connection, statement)

    return make


def _patched(at: int, content: bytes) -> Make:
    """A database with these bytes at this place."""

    def make(path: Path) -> None:
        _good(path)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(content)

    return make


def _resized(by: int = 0, to: int | None = None) -> Make:
    def make(path: Path) -> None:
        _good(path)
        os.truncate(path, path.stat().st_size + by if to is None else to)

    return make


def _killed(make: Make) -> Make:
    """The same, with the WAL of a program that was killed."""

    def make_killed(path: Path) -> None:
        make(path)
        leave_a_wal(path)

    return make_killed


def _next_to(suffix: str, make: Make) -> Make:
    """A good database, and something that has the name of a file which belongs to it."""

    def make_both(path: Path) -> None:
        _good(path)
        make(path.with_name(path.name + suffix))

    return make_both


def _with_journal(path: Path) -> None:
    _good(path)
    path.with_name("node.db-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(600))


def _with_the_wal_of_another(path: Path) -> None:
    _good(path)
    (path.parent / "other").mkdir()
    other = store(path.parent / "other" / "node.db", chain(9, seed=1))
    leave_a_wal(other)
    other.with_name("node.db-wal").rename(path.with_name("node.db-wal"))


def _read_only(path: Path) -> None:
    _good(path)
    path.chmod(0o444)


def _twice(path: Path) -> None:
    _good(path)
    os.link(path, path.with_name("twin.db"))


def _linked(path: Path) -> None:
    _good(path.with_name("real.db"))
    path.symlink_to("real.db")


def _store_folder(path: Path) -> None:
    path.mkdir()
    _good(path / "db.sqlite3")


def _socket(path: Path) -> None:
    with closing(socket(AF_UNIX)) as bound:
        bound.bind(os.path.relpath(path))


RUNNING = """
import sys
from pathlib import Path
from connectors.claim import claim
held = claim(Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.read()
held.close()
"""


def _another_run(path: Path) -> AbstractContextManager[object]:
    return ready(python("-c", RUNNING, path))


def _in_use(path: Path) -> AbstractContextManager[object]:
    return holding(path, f"SELECT count(*) FROM {TABLE}")


def _number(value: str) -> str:
    return f"UPDATE {TABLE} SET delivered = {value} WHERE rowid = 1"


TRIGGER = f"CREATE TRIGGER counts AFTER UPDATE ON {TABLE} BEGIN SELECT 1; END"
NO_NUMBER = "holds a delivered number that is none"
UNKNOWN = "is not a ceramic-one database of a known version"
MALFORMED = "database disk image is malformed"
NOT_WHOLE = "by its header it has"

BAD: dict[str, Bad] = {
    # no file, or another kind of file
    "nothing": Bad(lambda _: None, "No such file"),
    "a folder with a database": Bad(_store_folder, "Did you mean `node.db/db.sqlite3`?"),
    "a named pipe": Bad(os.mkfifo, "is not a regular file", is_rare=True),
    "a socket": Bad(_socket, "is not a regular file", is_rare=True),
    "a link to nowhere": Bad(lambda path: path.symlink_to("x"), "No such file", is_rare=True),
    # the command line asks for the path, and names the help of the command
    "a link to itself": Bad(
        lambda path: path.symlink_to(path.name),
        "symbolic links",
        skipped=frozenset({"missing", "bytewax"}),
        is_rare=True,
    ),
    "a link to a database": Bad(_linked, "", fine=ALL),
    "a hard link": Bad(_twice, "has 2 hard links"),
    # no database
    "an empty file": Bad(Path.touch, "is empty"),
    "one byte": Bad(lambda path: path.write_text("x"), f"table `{TABLE}` is missing"),
    "text": Bad(lambda path: path.write_text("no database\n" * 999), "file is not a database"),
    "zeros": Bad(lambda path: path.write_bytes(bytes(8192)), "is not a database", is_rare=True),
    # cut, longer or damaged
    "half a header": Bad(_resized(to=50), MALFORMED),
    "a header alone": Bad(_resized(to=100), MALFORMED, is_rare=True),
    "the first page alone": Bad(_resized(to=ONE_PAGE), MALFORMED, is_rare=True),
    "no last page": Bad(_resized(-ONE_PAGE), MALFORMED, is_rare=True),
    "half a last page": Bad(_resized(-ONE_PAGE // 2), NOT_WHOLE),
    "more than its header says": Bad(_resized(ONE_PAGE), NOT_WHOLE),
    "a damaged schema": Bad(_patched(100, b"\xff" * 3000), MALFORMED, is_rare=True),
    "another page size": Bad(_patched(16, b"\2\0"), "malformed database schema", is_rare=True),
    "an impossible page size": Bad(_patched(16, b"\3\0"), "is not a database", is_rare=True),
    "a newer format to write": Bad(_patched(18, b"\3"), "can't write", fine=READERS),
    "a newer format of the schema": Bad(_patched(44, b"\0\0\0\x09"), "unsupported file format"),
    "another journal mode": Bad(
        _changed("PRAGMA journal_mode=DELETE"), "is not in WAL mode", fine=READERS
    ),
    # no ceramic-one database, or one in which a number would do more or can't be
    "no table": Bad(_changed("DROP TABLE ceramic_one_event_block"), "_event_block` is missing"),
    "no column": Bad(_changed(f"ALTER TABLE {TABLE} RENAME delivered TO x"), UNKNOWN),
    "no column of a list": Bad(
        _changed("ALTER TABLE ceramic_one_event_block RENAME codec TO x"), "codec` is missing"
    ),
    "a column rowid": Bad(
        _changed(f"ALTER TABLE {TABLE} ADD COLUMN rowid TEXT"), UNKNOWN, is_rare=True
    ),
    "a column _rowid_": Bad(
        _changed(f"ALTER TABLE {TABLE} ADD COLUMN _rowid_ TEXT"), "", fine=ALL, is_rare=True
    ),
    "a generated column": Bad(
        _changed(f"ALTER TABLE {TABLE} ADD COLUMN x AS (delivered * 2)"), "is generated"
    ),
    "a view": Bad(
        _changed(f"ALTER TABLE {TABLE} RENAME TO x", f"CREATE VIEW {TABLE} AS SELECT * FROM x"),
        "is a view",
    ),
    "a table without rowids": Bad(
        _changed(
            f"DROP TABLE {TABLE}",
            f"CREATE TABLE {TABLE} (order_key, cid PRIMARY KEY, delivered) WITHOUT ROWID",
        ),
        "is a table without rowids",
        is_rare=True,
    ),
    "a trigger": Bad(_changed(TRIGGER), "has triggers", fine=READERS),
    "a CHECK": Bad(
        _changed(f"ALTER TABLE {TABLE} ADD COLUMN x INT CHECK (delivered < 9)"),
        "has a `CHECK`",
        fine=READERS,
        is_rare=True,
    ),
    "an index on an expression": Bad(
        _changed(f"CREATE INDEX odd ON {TABLE} (delivered % 10)"),
        "`odd`",
        fine=READERS,
        is_rare=True,
    ),
    "a number that is text": Bad(
        _changed(_number("'many'")), NO_NUMBER, fine=frozenset({"why", "verify"})
    ),
    "a number that is real": Bad(
        _changed(_number("2.5")), NO_NUMBER, fine=frozenset({"why", "verify"}), is_rare=True
    ),
    "a number that is a blob": Bad(
        _changed(_number("x'01'")), NO_NUMBER, fine=frozenset({"why", "verify"}), is_rare=True
    ),
    "the largest number": Bad(
        _changed(_number(str(2**63 - 1))), "hardly any is left", fine=frozenset({"why", "verify"})
    ),
    # what lies next to it
    "the WAL of a killed program": Bad(_killed(_good), "", fine=ALL, is_rare=True),
    "a trigger, and a WAL": Bad(
        _killed(_changed(TRIGGER)), "has triggers", fine=READERS, is_rare=True
    ),
    "no column, and a WAL": Bad(
        _killed(_changed("ALTER TABLE ceramic_one_block RENAME bytes TO x")), UNKNOWN, is_rare=True
    ),
    "the largest number, and a WAL": Bad(
        _killed(_changed(_number(str(2**63 - 1)))),
        "hardly any is left",
        fine=frozenset({"why", "verify"}),
        is_rare=True,
    ),
    "the WAL of another database": Bad(
        _with_the_wal_of_another, "`node.db-wal` does not belong to", is_rare=True
    ),
    "a hot journal": Bad(_with_journal, "holds a transaction", fine=READERS),
    "a WAL that is a link": Bad(_next_to("-wal", lambda wal: Path(wal).symlink_to("x")), "-wal`"),
    "a -shm that is a folder": Bad(_next_to("-shm", Path.mkdir), "-shm`", is_rare=True),
    "a lock file that is a folder": Bad(
        _next_to("-order-lock", Path.mkdir),
        "something else has this name",
        fine=LOOKERS,
        is_rare=True,
    ),
    # who has it
    "read-only": Bad(_read_only, "is read-only", fine=LOOKERS),
    "read-only, and a WAL": Bad(_killed(_read_only), "is read-only", fine=LOOKERS, is_rare=True),
    "another run": Bad(_good, "is working on", meanwhile=_another_run),
    "a program that has it open": Bad(
        _good,
        "is open in another process",
        fine=frozenset({"status", "why", "missing", "dry run"}),
        meanwhile=_in_use,
        skipped=frozenset({"run", "follow", "bytewax"}),
    ),
}
