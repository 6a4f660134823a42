"""An unforeseen exception as an error with parts: something the machine lacks, or a defect.

No traceback reaches a user: it goes to a file that the error names.
"""

import errno
import os
import resource
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from connectors.errors import (
    NOTHING_CHANGED,
    CannotStartError,
    CeramicOrderError,
    DefectError,
    InterruptedRunError,
)
from connectors.scratch import PREFIX
from flows.terminal.signals import JOB_DONE

_MEMORY = "Give it more memory: look at `ulimit -v` and at the limit of the container."
_THREADS = "Look at `ulimit -u`, `ulimit -v`, and the `pids` limit of the container."
_LACKS: dict[int, tuple[str, str]] = {
    errno.ENOMEM: ("The process can't get more memory", _MEMORY),
    errno.EAGAIN: ("The process can't start another thread or process", _THREADS),
    errno.EMFILE: ("The process can't open more files", "Raise the limit `ulimit -n`."),
    errno.ENFILE: ("The machine can't open more files", "Raise `fs.file-max`."),
    errno.ENOSPC: ("A disk is full", "Make room on it."),
    errno.EDQUOT: ("A disk quota is used up", "Make room within it."),
    errno.EFBIG: ("A file can't grow further", "Raise the limit `ulimit -f`."),
    errno.EIO: ("A disk fails", "Look at the system's log."),
    errno.EROFS: ("A folder can't be written to", "Set TMPDIR to a folder that can."),
}
"""What a machine can lack: error number to what that means, and what to do about it."""

_REMOVED = (
    "A temporary folder was removed while it was used",
    f"Let nothing clean up folders `{PREFIX}*` while a command is at work.",
)

_GONE = (FileNotFoundError, NotADirectoryError)
"""What the system says of a file in a folder that is gone, or in whose place is a file."""

LEAST_FILE_BYTES = 4096
"""A limit on the size of files below this lets nothing be written."""

_MEMORY_WORDS = (
    *("cannot allocate memory", "failed to map segment", "cannot map", "bad alloc"),
    "allocation failure",  # DuckDB's, where not its own limit binds
)
_FOLDER_WORDS = ("no usable temporary directory",)
_THREAD_WORDS = ("can't start new thread", "resource temporarily unavailable")


def error_for(
    cause: BaseException, *, unchanged: str = NOTHING_CHANGED, printed: bytes = b""
) -> CeramicOrderError:
    """The error to show for `cause`, which is no error of ours.

    Args:
        cause: what was raised.
        unchanged: what is as it was, or kept, as whole sentences.
        printed: what libraries wrote to stderr before.
    """
    lack = _lack(cause)
    if lack is None:
        return defect(cause, printed).replaced(unchanged=unchanged)
    what, why, advice = lack
    kind = CannotStartError if unchanged.startswith(NOTHING_CHANGED) else InterruptedRunError
    # before the start it is the same with the same limits, and after the job nothing is left to do
    retry = kind is InterruptedRunError and unchanged != JOB_DONE
    return kind(what, why=why, unchanged=unchanged, advice=advice, retry=retry)


def defect(cause: BaseException, printed: bytes = b"") -> DefectError:
    """The error for something that nobody has foreseen; its traceback goes to a file."""
    trace = "".join(traceback.format_exception(cause)).encode(errors="backslashreplace")
    file = _kept_trace(printed + trace)
    said = str(cause).splitlines()[0] if str(cause) else "no message"
    advice = (
        "No folder could take a file with the traceback: set TMPDIR to one, then try again."
        if file is None
        else f"Please report it with the file `{file}`."
    )
    return DefectError(
        f"Stopped on an unexpected `{type(cause).__name__}`, a defect of ceramic-order",
        why=said.rstrip("."),
        advice=advice,
    )


def _kept_trace(trace: bytes) -> Path | None:
    for folder in _folders():
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix="ceramic-order-", suffix=".log", dir=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(trace)
            except OSError:
                Path(name).unlink()
                raise
            return Path(name)
    return None


def _folders() -> Iterator[str]:
    """Where a traceback may go: the temporary folder, else the working one, else home."""
    with suppress(OSError):
        yield tempfile.gettempdir()
    yield "."
    yield os.path.expanduser("~")  # noqa: PTH111 # Path.home() raises where there is none


def _lack(cause: BaseException) -> tuple[str, str, str] | None:
    """What the machine lacks, by this exception: what, why and advice; None: nothing known."""
    said = (str(cause).splitlines() or [""])[0].rstrip(". ") or "no reason is given"
    number: int | None = None
    if isinstance(cause, OSError):
        number = cause.errno
        if cause.errno is not None:
            name = f" `{cause.filename}`" if cause.filename else ""
            said = f"{cause.strerror}{name}"
    lowered = str(cause).lower()
    if isinstance(cause, MemoryError) or any(words in lowered for words in _MEMORY_WORDS):
        number = errno.ENOMEM
    elif isinstance(cause, RuntimeError) and any(words in lowered for words in _THREAD_WORDS):
        number = errno.EAGAIN
    elif isinstance(cause, OSError) and any(words in lowered for words in _FOLDER_WORDS):
        # of `tempfile`, which tries to write a few bytes in each
        no_file = 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[0] < LEAST_FILE_BYTES
        number = errno.EFBIG if no_file else errno.EROFS
    if isinstance(cause, _GONE) and f"/{PREFIX}" in str(cause.filename):
        what, advice = _REMOVED
    elif number in _LACKS:
        what, advice = _LACKS[number]
    else:
        return None
    return what, said[:1].lower() + said[1:], advice
