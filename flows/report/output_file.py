"""A file that a command writes apart from its main work: checked before, written whole or not."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.log_folder import SUMMARY, is_name_of_log
from connectors.paths import sync
from connectors.scratch import Scratch

VIOLATIONS = "violations.parquet"
"""The file of `verify --report`."""

SQLITE, PARQUET = b"SQLite format 3\0", b"PAR1"
"""How their files begin."""

OF_DATABASE = ("", "-wal", "-shm", "-journal", "-order-lock")
"""What is appended to a database's name in the names of the files next to it."""


def require_writable(
    path: Path, database: Path, what: str, *, kept: Iterable[Path | None] = ()
) -> None:
    """Check that `what` can be written to `path`, before the work whose result it is.

    Args:
        path: the file to be written.
        database: the database that the work is on.
        what: what is written, as in "a page".
        kept: other inputs and results of the work: files, and folders of which no file of a log or
            a report may be replaced.

    Raises:
        CannotStartError: it is no regular file, belongs to `database` or what is `kept`, is another
            database or a file of another result, or can't be made.
    """
    target, of_database = path.resolve(), database.resolve()
    if target in {of_database.with_name(of_database.name + end) for end in OF_DATABASE}:
        raise _not_writable(path, what, "it belongs to the database")
    for other in (file.resolve() for file in kept if file is not None):
        if target == other or (target.parent == other and _is_result(target.name)):
            raise _not_writable(path, what, f"it belongs to `{other}`")
    if target.exists() and not target.is_file():
        raise _not_writable(path, what, "it is no regular file")
    try:
        if target.exists() and _is_of_others(target):
            raise _not_writable(path, what, "it is a database, or a file of a log or a report")
        with closing(Scratch(target.parent)) as scratch:
            scratch.folder()
    except OSError as cause:
        raise _not_writable(path, what, cause.strerror or type(cause).__name__) from cause


def write_whole(path: Path, text: str) -> None:
    """Replace a file by one with this text, or leave it as it is.

    What a kill leaves is removed by the next that writes into its folder.

    Raises:
        OSError: the disk is full or fails.
    """
    target = path.resolve()
    with closing(Scratch(target.parent)) as scratch:
        partial = scratch.folder() / "whole"
        # a file name need not be text
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        sync(partial)
        partial.replace(target)


def _not_writable(path: Path, what: str, why: str) -> CannotStartError:
    return CannotStartError(
        f"Can't write {what} to `{path}`", why=why, advice="Name a file in a folder that exists."
    )


def _is_of_others(file: Path) -> bool:
    """Whether a file is what no page replaces, whatever wrote it."""
    with file.open("rb") as opened:
        return opened.read(len(SQLITE)).startswith((SQLITE, PARQUET)) or file.name == SUMMARY


def _is_result(name: str) -> bool:
    return is_name_of_log(name) or name == VIOLATIONS
