"""A file that a command writes besides its main work, checked before and written whole or not."""

from contextlib import suppress
from pathlib import Path

from connectors.errors import CannotStartError

OF_DATABASE = ("", "-wal", "-shm", "-journal", "-order-lock")
"""What is added to a database's name in the names of its files."""


def require_writable(path: Path, database: Path, what: str) -> None:
    """Check that `what` can be written to `path`, before the work whose result it is.

    Raises:
        CannotStartError: it is no regular file, belongs to `database`, or can't be made.
    """
    target, of_database = path.resolve(), database.resolve()
    if target in {of_database.with_name(of_database.name + end) for end in OF_DATABASE}:
        raise _not_writable(path, what, "it belongs to the database")
    if target.exists() and not target.is_file():
        raise _not_writable(path, what, "it is no regular file")
    partial = _partial(target)
    try:
        partial.touch()
        partial.unlink()
    except OSError as cause:
        raise _not_writable(path, what, cause.strerror or type(cause).__name__) from cause


def write_whole(path: Path, text: str) -> None:
    """Replace a file by one with this text, or leave it as it is.

    Raises:
        OSError: the disk is full or fails.
    """
    target = path.resolve()
    partial = _partial(target)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def _not_writable(path: Path, what: str, why: str) -> CannotStartError:
    return CannotStartError(
        f"Can't write {what} to `{path}`", why=why, advice="Name a file in a folder that exists."
    )


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
