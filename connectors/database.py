"""Where a ceramic database is, and whether it is one."""

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import CannotStartError, CeramicOrderError
from connectors.mounts import second_name
from connectors.sqlite import (
    DATABASE_ERRORS,
    Connection,
    connect_reader,
    query,
    scalar,
    sqlite_errors,
    sqlite_says,
    starting,
)

REQUIRED_COLUMNS = {
    "ceramic_one_event": ("order_key", "cid", "delivered"),
    "ceramic_one_event_block": ("event_cid", "block_multihash"),
    "ceramic_one_block": ("multihash", "bytes"),
}
"""What every schema version since v0.30 has (FORMAT.md, Tables)."""

WHICH = "Check that it is the node's database (`db.sqlite3` in its store folder)."

MAX_NUMBER = 2**63 - 1
"""The largest integer that SQLite can hold."""

ROOM = 2**40
"""Numbers that must be left: more than a database can hold events."""

HIGHEST_NUMBER = """
    SELECT typeof(highest) AS kind,
           CASE typeof(highest) WHEN 'integer' THEN highest ELSE 0 END AS number,
           CASE typeof(highest) WHEN 'blob' THEN 'a blob of ' || length(highest) || ' bytes'
                WHEN 'text' THEN 'the text `' || substr(highest, 1, 40) || '`'
                ELSE 'the real number `' || coalesce(highest, '') || '`' END AS shown
    FROM (SELECT max(delivered) AS highest FROM ceramic_one_event)
"""
"""SQLite sorts blobs behind text and text behind numbers, so one that is no number is the highest.
"""

TRIGGERS = """
    SELECT name FROM sqlite_master
    WHERE type = 'trigger' AND lower(tbl_name) = 'ceramic_one_event' ORDER BY name
"""

ODD_INDICES = """
    SELECT list.name FROM pragma_index_list('ceramic_one_event') AS list
    WHERE EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name) WHERE cid = -2)
       OR list."unique"
      AND EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name)
                  WHERE key AND lower(name) = 'delivered')
      AND (SELECT count(*) FROM pragma_index_xinfo(list.name) WHERE key) > 1
"""
"""Indices on expressions, and those that want `delivered` to be unique together with other columns.
"""

TYPE_OF_NUMBER = (
    "SELECT type FROM pragma_table_info('ceramic_one_event') WHERE lower(name) = 'delivered'"
)

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database."""


@dataclass(frozen=True)
class Schema:
    """What differs between the versions of a ceramic database."""

    has_init_cid: bool
    """The event table has `init_cid` (since v0.36); older rows hold NULL in it."""
    migration: int | None
    """The newest migration that the node recorded, None where that table is missing."""
    version: str
    """Of the node, as far as the columns of the event table tell."""

    def to_json(self) -> dict[str, object]:
        """The part `schema` of every document of `--json`."""
        return {"migration": self.migration, "version": self.version}


LONGEST_PATH = 504
"""Bytes of a path that SQLite opens: its limit of 512 less what it appends for its journal."""


def require_short(path: Path) -> None:
    """Check that SQLite can open a resolved path of this length.

    Raises:
        CannotStartError: it is too long.
    """
    if (length := len(os.fsencode(path))) > LONGEST_PATH:
        raise CannotStartError(
            f"The path of `{path.name}` has `{length}` bytes",
            why=f"SQLite opens paths of at most `{LONGEST_PATH}`",
            advice="Move it, or mount its folder at a shorter path.",
        )


def locate(path: Path, *, writable: bool = False) -> Path:
    """Resolve `path` to a regular file that may hold a database, without opening it.

    Raises:
        CannotStartError: it is missing, a directory or a device, empty, has a second name by a hard
            link or a mount, or (if `writable`) is read-only.
    """
    try:
        resolved = path.resolve(strict=True)
        info = resolved.stat()
    except (OSError, RuntimeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is a loop of symbolic links"
        raise CannotStartError(
            f"Can't open `{path}`",
            why=f"{reason}",
            unchanged="Nothing was created or changed.",
            advice="Check the path.",
        ) from cause
    if not stat.S_ISREG(info.st_mode):
        kind = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        inside = path / "db.sqlite3"
        meant = (
            f"Did you mean `{inside}`?" if inside.is_file() else "Name the database file itself."
        )
        raise CannotStartError(f"`{path}` is {kind}, not a database", advice=meant)
    if info.st_size == 0:
        raise CannotStartError(
            f"`{path}` is empty, not a ceramic-one database", advice="Check the path."
        )
    require_short(resolved)
    if info.st_nlink > 1:
        raise CannotStartError(
            f"`{path}` has {info.st_nlink} hard links",
            why="SQLite would keep a separate journal for each name and damage the file",
            advice="Remove the other names, or work on a copy.",
        )
    _require_one_name(path, resolved)
    if writable:
        _require_writable(path, resolved, info.st_mode)
    return resolved


def _require_one_name(path: Path, resolved: Path) -> None:
    """Check that the file has one name only: SQLite keeps a WAL beside each name."""
    other = second_name(resolved)
    if other is not None:
        raise CannotStartError(
            f"`{path}` is mounted as a single file",
            why=f"its other name is `{other}`, and SQLite keeps a separate WAL beside each name, "
            "which would damage the file",
            advice="Mount the folder of the database instead.",
        )
    for suffix in COMPANIONS:
        companion = resolved.with_name(resolved.name + suffix)
        try:
            info = companion.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(info.st_mode):
            why = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "no regular file"
        elif info.st_nlink > 1:
            why = f"a file with {info.st_nlink} hard links"
        elif second_name(companion) is not None:
            why = "a mount of its own"
        else:
            continue
        raise CannotStartError(
            f"`{companion}` is {why}, so it may belong to another database",
            advice="Work on a copy made by SQLite itself: "
            f'`sqlite3 {resolved.name} ".backup copy.db"`.',
        )


def _require_writable(path: Path, resolved: Path, mode: int) -> None:
    # root passes every permission check, so a file that its owner made read-only is recognised by
    # its mode bits
    if not mode & 0o222 or not os.access(resolved, os.W_OK):
        raise CannotStartError(
            f"`{path}` is read-only, and `delivered` must be written in place",
            advice="Make it writable, or use `--dry-run` to see what a run would do.",
        )
    if not os.access(resolved.parent, os.W_OK):
        raise CannotStartError(
            f"The folder of `{path}` is read-only, and SQLite keeps its WAL there",
            advice="Make the folder writable, or use `--dry-run` to see what a run would do.",
        )


def read_schema(connection: Connection, path: Path) -> Schema:
    """Check that this is a ceramic-one database of a known version.

    Raises:
        CannotStartError: it is not an SQLite database, it is damaged beyond opening, or a table or
            column is missing or of another kind.
    """
    try:
        tables = {table: _columns(connection, table) for table in REQUIRED_COLUMNS}
        kinds = {table: _kind(connection, table) for table in REQUIRED_COLUMNS}
        migration = None
        if "version" in _columns(connection, "_sqlx_migrations"):
            migration = scalar(
                connection, "SELECT max(CAST(version AS INTEGER)) FROM _sqlx_migrations"
            )
    except DATABASE_ERRORS as cause:
        said = sqlite_says(cause)
        advice = WHICH if "not a database" in said else "Check the file, its folder and the disk."
        raise CannotStartError(
            f"Can't read `{path}` as a database", why=said, advice=advice
        ) from cause
    for table, required in REQUIRED_COLUMNS.items():
        columns, kind = tables[table], kinds[table]
        if kind is None:
            raise CannotStartError(
                f"`{path}` is not a ceramic-one database",
                why=f"table `{table}` is missing",
                advice=WHICH,
            )
        missing = [column for column in required if column not in columns]
        if missing:
            raise _unknown_version(path, f"column `{table}.{missing[0]}` is missing")
        if kind != "table":
            raise _unknown_version(path, f"`{table}` is a {kind}")
        if "rowid" in columns:
            raise _unknown_version(path, f"`{table}` has a column of its own named `rowid`")
        generated = [column for column in columns if columns[column]]
        if generated:
            raise _unknown_version(path, f"column `{table}.{generated[0]}` is generated")
    of_events = tables["ceramic_one_event"]
    version = (
        "v0.38 or later"
        if "is_time_event" in of_events
        else "v0.36 or v0.37"
        if "init_cid" in of_events
        else "before v0.36"
    )
    return Schema(has_init_cid="init_cid" in of_events, migration=migration, version=version)


def require_orderable(connection: Connection, path: Path) -> None:
    """Check that numbers can be written here, and that writing them changes nothing else.

    Raises:
        CannotStartError: the event table has triggers, or indices or a type that forbid numbers.
    """
    advice = "Remove it, or ask who made it; no node does."
    with starting(path):
        triggers = _texts(connection, TRIGGERS)
        indices = _texts(connection, ODD_INDICES)
        type_of_number = _texts(connection, TYPE_OF_NUMBER)[0].upper()
    if triggers:
        names = ", ".join(f"`{name}`" for name in triggers)
        raise CannotStartError(
            f"`{path}` has triggers on `ceramic_one_event`, which would act on every number",
            why=names,
            advice="Remove them, or ask who made them; no node does.",
        )
    if indices:
        raise CannotStartError(
            f"`{path}` has an index on `ceramic_one_event` that could forbid a number",
            why=f"`{indices[0]}` is on an expression, or wants `delivered` to be unique "
            "together with others",
            advice=advice,
        )
    # SQLite's rules of affinity: INT comes first, and an empty type is BLOB
    is_text = any(word in type_of_number for word in ("CHAR", "CLOB", "TEXT"))
    is_real = any(word in type_of_number for word in ("REAL", "FLOA", "DOUB"))
    if "INT" not in type_of_number and (is_text or is_real):
        raise _unknown_version(
            path, f"column `ceramic_one_event.delivered` has the type `{type_of_number}`"
        )


def not_in_wal_mode(path: Path) -> CannotStartError:
    """The error for a database in another journal mode; a node's is always in WAL mode.

    In other modes an idle program holds no lock: nobody can see it or keep it out.
    """
    return CannotStartError(
        f"`{path}` is not in WAL mode, as a node's database is",
        why="in other modes a program that has it open can't be seen",
        advice=f"Turn it on: `sqlite3 {path.name} 'PRAGMA journal_mode=WAL'`.",
    )


def highest_number(
    connection: Connection,
    path: Path,
    kind: type[CeramicOrderError] = CannotStartError,
    *,
    room: int = ROOM,
) -> int:
    """The highest number of a delivered event; 0 if there is none, or if all are negative.

    Args:
        connection: a connection to the database.
        path: its name in the error.
        kind: the error to raise; CannotStartError where nothing has been changed.
        room: how many larger numbers must be left.

    Raises:
        CeramicOrderError: of `kind`; a value in `delivered` is no integer, or leaves less room.
    """
    with sqlite_errors(f"Can't read the highest number in `{path}`", kind):
        found = query(connection, HIGHEST_NUMBER).to_pylist()[0]
    if found["kind"] not in {"integer", "null"}:
        raise kind(
            f"`{path}` holds a delivered number that is none",
            why=f"it is {found['shown']}",
            advice="Find out with `ceramic-order verify` where.",
        )
    highest = max(found["number"] or 0, 0)
    if highest > MAX_NUMBER - room:
        raise kind(
            f"`{path}` holds the number `{highest}`",
            why=f"SQLite has none larger than `{MAX_NUMBER}`, so hardly any is left",
            advice="Find out with `ceramic-order verify` who wrote it.",
        )
    return int(highest)


def check_schema(path: Path) -> Schema:
    """`read_schema` on a connection of its own."""
    with starting(path), closing(connect_reader(path)) as connection:
        return read_schema(connection, path)


def require_whole(connection: Connection, path: Path) -> None:
    """Check that the file is as long as its header says.

    SQLite trusts the header, and would write over what lies behind it. Only right while the WAL is
    empty: the file may lag behind it.

    Raises:
        CannotStartError: it is cut, or its header is damaged.
    """
    said = scalar(connection, "PRAGMA page_count") * scalar(connection, "PRAGMA page_size")
    if said != path.stat().st_size:
        raise CannotStartError(
            f"`{path}` has `{path.stat().st_size:,}` bytes, but by its header it has `{said:,}`",
            why="the copy is not complete, or the file is damaged",
            advice="Copy it again, or recover it with `.recover` of the SQLite shell.",
        )


def _unknown_version(path: Path, why: str) -> CannotStartError:
    return CannotStartError(
        f"`{path}` is not a ceramic-one database of a known version", why=why, advice=WHICH
    )


def _columns(connection: Connection, table: str) -> dict[str, bool]:
    """The columns of a table in lower case, and whether each is generated."""
    rows = query(
        connection, "SELECT lower(name) AS name, hidden FROM pragma_table_xinfo(?)", (table,)
    )
    return {row["name"]: row["hidden"] != 0 for row in rows.to_pylist()}


def _kind(connection: Connection, table: str) -> str | None:
    """`table`, or what else has this name; None if nothing has."""
    found = query(
        connection,
        "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = ?",
        (table,),
    ).to_pylist()
    if not found:
        return None
    return "table without rowids" if found[0]["wr"] else str(found[0]["type"])


def _texts(connection: Connection, sql: str) -> list[str]:
    return [str(value) for value in query(connection, sql).column(0).to_pylist()]
