"""The lock file next to a database, by which two runs exclude each other.

It holds nothing. One that a kill has left holds no lock and does no harm.
"""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from connectors.database import owner
from connectors.errors import CannotStartError
from connectors.mounts import on_file_system

FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""How it is opened: made if it is not there, no link followed, and no wait for the other end of a
named pipe of its name."""


def lock(path: Path) -> int | None:
    """Make and lock the file at `path`; None if another process holds its lock.

    Raises:
        CannotStartError: it can't be made, or the file system has no locks.
    """
    while True:
        try:
            descriptor = os.open(path, FLAGS, 0o600)
        except OSError as cause:
            raise _no_lock_file(path, cause.strerror) from cause
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _no_lock_file(path, None)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as cause:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise no_locks(path, cause) from cause
        # the holder removes the file before it lets go, so the name may mean another file by now
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def unlock(path: Path, descriptor: int) -> None:
    """Remove the file and let go of its lock; a file that stays does no harm.

    If the folder was replaced, the name may mean the lock file of another run by now.
    """
    with suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            path.unlink()
    os.close(descriptor)


def _no_lock_file(path: Path, why: str | None) -> CannotStartError:
    what = f"Can't make the lock file `{path}`"
    try:
        info = path.lstat()
    except OSError:
        return CannotStartError(what, why=why)
    if not stat.S_ISREG(info.st_mode):
        why = "something else has this name"
        return CannotStartError(what, why=why, advice="Remove or rename it.")
    return CannotStartError(
        f"Can't open the lock file `{path}`",
        why=f"it belongs to {owner(info.st_uid)} ({why})",
        advice="If no run of that user is under way, it is left from one that was killed: "
        "remove it.",
    )


def no_locks(path: Path, cause: OSError) -> CannotStartError:
    """The error where the file system has no locks."""
    return CannotStartError(
        f"Can't lock `{path}`",
        why=f"{cause.strerror}{on_file_system(path)}",
        advice="Work on a local disk, or mount this file system with locks.",
    )
