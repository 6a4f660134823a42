"""A file that a command writes beside its main work: checked before the work, and whole or not there."""

from contextlib import suppress
from pathlib import Path

from connectors.errors import CannotStartError


def require_place(path: Path, database: Path, what: str) -> None:
    """Check that `what` can be written to `path`, before the work that it is of.

    Raises:
        CannotStartError: it is something else than a file, belongs to `database`, or its folder can't be written to.
    """
    target, of_database = path.resolve(), database.resolve()
    if target in {
        of_database.with_name(of_database.name + suffix)
        for suffix in ("", "-wal", "-shm", "-journal", "-order-lock")
    }:
        raise _no_place(path, what, "it belongs to the database")
    if target.exists() and not target.is_file():
        raise _no_place(path, what, "it is no regular file")
    partial = _partial(target)
    try:
        partial.touch()
        partial.unlink()
    except OSError as cause:
        raise _no_place(path, what, cause.strerror or type(cause).__name__) from cause


def write_whole(path: Path, text: str) -> None:
    """Write a file in place of an earlier one, or leave that as it is.

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


def _no_place(path: Path, what: str, reason: str) -> CannotStartError:
    return CannotStartError(
        f"Can't write {what} to `{path}`",
        why=f"{reason}",
        advice="Name a file in a folder that exists.",
    )


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
