"""Where a ceramic database is, and whether it is one."""

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.mounts import second_name
from connectors.sqlite import (
    DATABASE_ERRORS,
    Connection,
    connect_reader,
    query,
    scalar,
    sqlite_says,
    starting,
)

REQUIRED_COLUMNS = {
    "ceramic_one_event": ("order_key", "cid", "delivered"),
    "ceramic_one_event_block": ("event_cid", "block_multihash"),
    "ceramic_one_block": ("multihash", "bytes"),
}
"""What every schema version since v0.30 has (FORMAT.md, Tables)."""

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
        raise CannotStartError(
            f"`{path}` is {kind}, not a database", advice="Name the database file itself."
        )
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
    """Check that every program that opens this file finds the same WAL beside it."""
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
            f"The folder of `{path}` is read-only, and SQLite keeps its write-ahead log there",
            advice="Make the folder writable, or use `--dry-run` to see what a run would do.",
        )


def read_schema(connection: Connection, path: Path) -> Schema:
    """Check that this is a ceramic-one database of a known version.

    Raises:
        CannotStartError: not an SQLite database, damaged beyond opening, or a table or column is missing.
    """
    which = "Check that it is the node's database (`db.sqlite3` in its store folder)."
    try:
        columns = {
            table: _columns(connection, table) for table in (*REQUIRED_COLUMNS, "_sqlx_migrations")
        }
        migration = None
        if "version" in columns["_sqlx_migrations"]:
            migration = scalar(connection, "SELECT max(version) FROM _sqlx_migrations")
    except DATABASE_ERRORS as cause:
        said = sqlite_says(cause)
        advice = which if "not a database" in said else "Check the file, its folder and the disk."
        raise CannotStartError(
            f"Can't read `{path}` as a database", why=said, advice=advice
        ) from cause
    for table, required in REQUIRED_COLUMNS.items():
        if not columns[table]:
            raise CannotStartError(
                f"`{path}` is not a ceramic-one database",
                why=f"table `{table}` is missing",
                advice=which,
            )
        for column in required:
            if column not in columns[table]:
                raise CannotStartError(
                    f"`{path}` is not a ceramic-one database of a known version",
                    why=f"column `{table}.{column}` is missing",
                    advice=which,
                )
    of_events = columns["ceramic_one_event"]
    version = (
        "v0.38 or later"
        if "is_time_event" in of_events
        else "v0.36 or v0.37"
        if "init_cid" in of_events
        else "before v0.36"
    )
    return Schema(has_init_cid="init_cid" in of_events, migration=migration, version=version)


def check_schema(path: Path) -> Schema:
    """`read_schema` on a connection of its own."""
    with starting(path), closing(connect_reader(path)) as connection:
        return read_schema(connection, path)


def require_whole(connection: Connection, path: Path) -> None:
    """Check that the file is as long as its header says; SQLite trusts the header, and would write over what lies behind it.

    Only right while there is no write-ahead log: the file may lag behind that.

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


def _columns(connection: Connection, table: str) -> set[str]:
    return set(
        query(connection, "SELECT name FROM pragma_table_info(?)", (table,))
        .column("name")
        .to_pylist()
    )
