"""Where a ceramic database is: in one regular file, with one name, that is whole."""

import os
import stat
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.mounts import second_name
from connectors.sqlite import Connection, scalar

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps next to a database, by what it appends to the name."""


LONGEST_PATH = 504
"""The most bytes of a path that SQLite opens: its limit is 512, and it appends a suffix."""


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
            link or a mount, or it or what lies next to it can't be read or (if `writable`) written.
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
            advice="Check the permissions of its folders."
            if isinstance(cause, PermissionError)
            else "Check the path.",
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
    if not os.access(resolved, os.R_OK):
        raise CannotStartError(
            f"Can't read `{path}`",
            why=f"it belongs to {owner(info.st_uid)}, and this user may not read it",
            advice="Work as the user whose database it is.",
        )
    _require_one_name(path, resolved)
    _require_access(resolved, os.R_OK | os.W_OK if writable else os.R_OK)
    if writable:
        _require_writable(path, resolved, info.st_mode)
    return resolved


def _require_one_name(path: Path, resolved: Path) -> None:
    """Check that the file has one name only: SQLite keeps a WAL next to each name."""
    other = second_name(resolved)
    if other is not None:
        raise CannotStartError(
            f"`{path}` is mounted as a single file",
            why=f"its other name is `{other}`, and SQLite keeps a separate WAL next to each name, "
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


def _require_access(resolved: Path, wanted: int) -> None:
    """Check that this user may use what lies next to the database.

    SQLite only says that it can't open the database, and a WAL that can't be used must not look as
    if it belonged to another one.
    """
    for suffix in COMPANIONS:
        companion = resolved.with_name(resolved.name + suffix)
        if companion.exists() and not os.access(companion, wanted):
            raise CannotStartError(
                f"Can't use `{companion}`",
                why=f"it belongs to {owner(companion.stat().st_uid)}, and this user may not "
                f"{'write' if wanted & os.W_OK else 'read'} it",
                advice="Work as the user whose database it is. It may hold what the database does "
                "not: do not remove it.",
            )


def owner(number: int) -> str:
    """A user, for people."""
    import pwd  # noqa: PLC0415 # only errors need it

    try:
        return f"user `{pwd.getpwuid(number).pw_name}`"
    except KeyError:
        return f"user number `{number}`"


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


def require_wal_mode(path: Path, mode: str) -> None:
    """Check the journal mode of a database, as `connectors.lock_probe` names it.

    A node's is always in WAL mode. In other modes an idle program holds no lock: nobody can see it
    or keep it out.

    Raises:
        CannotStartError: it is another one, or that of a newer format.
    """
    if mode == "newer":
        raise CannotStartError(
            f"`{path}` is in a format that this SQLite can't write",
            why="its header asks for a newer version, or is damaged",
            advice="Check that it is the node's database, and what `PRAGMA integrity_check` says.",
        )
    if mode == "rollback":
        raise CannotStartError(
            f"`{path}` is not in WAL mode, as a node's database is",
            why="in other modes a program that has it open can't be seen",
            advice=f"Turn it on: `sqlite3 {path.name} 'PRAGMA journal_mode=WAL'`.",
        )


def require_whole(connection: Connection, path: Path, file: Path | None = None) -> None:
    """Check that the file, or the private copy of it that is read, is as long as its header says.

    SQLite trusts the header, and would write over what follows the end that it names. To be
    called while the WAL is empty: until then the file may be shorter than the header says.

    Raises:
        CannotStartError: it is cut, or its header is damaged.
    """
    said = scalar(connection, "PRAGMA page_count") * scalar(connection, "PRAGMA page_size")
    size = (file or path).stat().st_size
    # without any page SQLite takes it for a new one, in which the check of the schema finds nothing
    if said not in {0, size}:
        raise CannotStartError(
            f"`{path}` has `{size:,}` bytes, but by its header it has `{said:,}`",
            why="the copy is not complete, or the file is damaged",
            advice="Copy it again, or recover it with `.recover` of the SQLite shell.",
        )
