"""Before a run, checks a WAL that was left next to the database, before SQLite applies it.

SQLite applies whatever valid WAL has the name, also that of another database or of an older copy,
and damages the database by it. So it is looked at first by a process of its own, which opens the
database alone and in exclusive locking mode, where the WAL's index is in memory, and ends without
closing it: nothing is written or checkpointed, whatever is found.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from connectors.errors import CannotStartError
from connectors.schema import read_schema
from connectors.sqlite import Connection, connect, execute, query, scalar, sqlite_errors
from connectors.wal_frames import WAL_HEADER_BYTES, Frames, read_frames

PERMISSIONS = "Check the permissions of the database and of what lies next to it, and the disk."
"""Advice where a file can't be read."""

JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
DATABASE_HEADER_BYTES = 100

CHANGES_AT = 24
"""Offset in the first page of the counter of its changes, which is larger in each later version."""

WHOLE_CHECK_BYTES = 256 << 20
"""Up to this size of a database every index is compared with its table (4 s). In larger ones all
pages are checked (2 s a GB), and the numbers are compared with their index."""

COPY_SECONDS = 2.0
"""A WAL that is older than the database by more than this was not written with it, unless it was
checkpointed."""

NUMBERS = "SELECT count(delivered), total(delivered) FROM ceramic_one_event {by}"
DELIVERED_INDEX = """
    SELECT list.name FROM pragma_index_list('ceramic_one_event') AS list
    WHERE (SELECT group_concat(name) FROM pragma_index_info(list.name)) = 'delivered'
      AND NOT list.partial
"""


Look: TypeAlias = Literal["alone", "reading", "in brief"]
"""How a database is looked at: in exclusive locking mode, or as a reader does, which needs the
`-shm` that a killed program left too; in brief, without reading all of it."""


def require_own_wal(path: Path) -> None:
    """Check what lies next to a database that no process has open, before SQLite applies it.

    Raises:
        CannotStartError: there is an interrupted transaction of another journal mode, or a WAL that
            does not belong to the database. Nothing was changed.
    """
    require_no_journal(path)
    look_at_wal(path, path, "alone")


def require_no_journal(path: Path) -> None:
    """Check that no transaction of another journal mode was interrupted.

    Raises:
        CannotStartError: one was. Nothing was changed.
    """
    journal = path.with_name(path.name + "-journal")
    if _begins_with(journal, JOURNAL_MAGIC):
        raise CannotStartError(
            f"`{journal}` holds a transaction that was interrupted",
            why="a program that kept no WAL was killed, or the file belongs to another database",
            advice="If it belongs to this database, let that program undo it: open the database "
            "with it once. Else remove it.",
        )


def look_at_wal(path: Path, named: Path, look: Look) -> None:
    """Check a WAL that lies next to a database.

    Args:
        path: the database.
        named: the name of it that errors give, where it is a copy.
        look: how it is looked at.

    Raises:
        CannotStartError: it does not belong to the database. Nothing was changed.
    """
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size <= WAL_HEADER_BYTES:
        return
    looking = subprocess.run(
        [sys.executable, "-P", "-m", "connectors.leftover_wal", path, named, look],
        capture_output=True,
        text=True,
        check=False,
    )
    if looking.returncode:
        lines = looking.stderr.strip().splitlines() or [f"exit code {looking.returncode}"]
        raise CannotStartError(f"Can't look at `{wal}`", why=lines[-1])
    found = json.loads(looking.stdout)
    if found is not None:
        raise CannotStartError(**found)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except FileNotFoundError:
        return False


def _look(path: Path, named: Path, look: str) -> None:
    """Check the database with its WAL. End the process afterwards without closing anything.

    Raises:
        CannotStartError: they do not belong together.
    """
    wal = path.with_name(path.name + "-wal")
    frames = read_frames(wal)
    if frames is None:
        # SQLite ignores it
        return
    _compare(path, wal, frames, named)
    with sqlite_errors(f"Can't read `{named}` with `{named.name}-wal`", CannotStartError):
        if look == "alone":
            connection = connect(path, "rw")
            execute(connection, "PRAGMA locking_mode=EXCLUSIVE")
        else:
            connection = connect(path, "ro", readonly_shm=True)
        _KEPT.append(connection)
        _require_schema(connection, path, named)
        pages = scalar(connection, "PRAGMA page_count")
        if pages * frames.page_bytes < path.stat().st_size:
            would = f"with it the database would shrink to `{pages}` pages of {frames.page_bytes}"
            raise _foreign(named, would)
        # whatever makes a database longer or shorter also writes that into its first page
        if pages != frames.database_pages:
            of = f"it was written for a database of `{frames.database_pages}` pages, not `{pages}`"
            raise _foreign(named, of)
        if look == "in brief":
            return
        small = path.stat().st_size <= WHOLE_CHECK_BYTES
        said = scalar(connection, f"PRAGMA {'integrity' if small else 'quick'}_check(1)")
        if said != "ok":
            raise _foreign(named, f"with it the database is damaged: {said}")
        index = scalar(connection, DELIVERED_INDEX)
        if index is not None:
            quoted = index.replace('"', '""')
            by_table, by_index = (
                _numbers(connection, by) for by in ("NOT INDEXED", f'INDEXED BY "{quoted}"')
            )
            if by_table != by_index:
                raise _foreign(named, "with it the index of the numbers is not that of the table")


def _require_schema(connection: Connection, path: Path, named: Path) -> None:
    try:
        read_schema(connection, named)
    except CannotStartError as error:
        if error.retry:
            # it could not be read at all, which says nothing about the WAL
            raise
        alone = connect(path, "ro", immutable=True)
        _KEPT.append(alone)
        # raises the same error where the database itself is to blame
        read_schema(alone, named)
        raise _foreign(named, f"with it the database can't be used ({error.why})") from error


_KEPT: list[object] = []
"""A connection that is closed would checkpoint."""


def _numbers(connection: Connection, by: str) -> dict[str, object]:
    row: dict[str, object] = query(connection, NUMBERS.format(by=by)).to_pylist()[0]
    return row


def _compare(path: Path, wal: Path, frames: Frames, named: Path) -> None:
    """Compare the pages of both."""
    data = np.memmap(path, mode="r")
    if len(data) < DATABASE_HEADER_BYTES:
        return
    page_bytes = int.from_bytes(data[16:18].tobytes())
    if (page_bytes if page_bytes != 1 else 65536) != frames.page_bytes:
        raise _foreign(named, f"it has pages of {frames.page_bytes} bytes, not {page_bytes}")
    _KEPT.append(data)
    last = frames.last()
    if 1 in last:
        first = int(np.flatnonzero(frames.pages == 1)[0])
        here, begins, ends = (
            int.from_bytes(page[CHANGES_AT : CHANGES_AT + 4].tobytes())
            for page in (data, frames.content[first], frames.content[last[1]])
        )
        if ends < here:
            raise _foreign(named, "it is older than the database")
        if begins > here + 1:
            raise _foreign(named, "the database is older than it")
    if path.stat().st_mtime > wal.stat().st_mtime + COPY_SECONDS and not any(
        np.array_equal(data[(page - 1) * frames.page_bytes :][: frames.page_bytes], content)
        for page, content in ((page, frames.content[frame]) for page, frame in last.items())
    ):
        # a checkpoint, which makes the database newer, would have brought pages into it
        error = _foreign(named, "it is older than the database by the times of both files")
        clock = "If the clock was set back, let the program that wrote it open the database once."
        raise error.replaced(advice=f"{clock} {error.advice}")


def _foreign(path: Path, why: str) -> CannotStartError:
    return CannotStartError(
        f"`{path.name}-wal` does not belong to `{path}`",
        why=why,
        advice="If the database is a copy, move `-wal` and `-shm` away; if not, bring both back "
        "from one backup.",
    )


def main() -> None:
    """Print what is wrong as JSON, null if nothing is."""
    found = None
    try:
        path, named, look = sys.argv[1:]
        _look(Path(path), Path(named), look)
    except CannotStartError as error:
        found = error.parts()
    except OSError as cause:
        what = f"Can't read `{cause.filename or sys.argv[2]}`"
        found = CannotStartError(what, why=cause.strerror, advice=PERMISSIONS).parts()
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
