"""Temporary folders that are removed when they are not needed any more, also after a signal.

A folder is locked for as long as its process lives. One that nobody has locked was left by a
process that was killed, and the next one that makes a folder in the same place removes it.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock, RLock

from connectors.errors import CannotStartError

PREFIX = "ceramic-order-"
"""How the name of every folder starts."""

LOCK_FILE = ".ceramic-order-lock"
"""The file in each folder that its process holds a lock on; a folder of a user has none."""

REMOVAL_SECONDS = 0.5
"""How long the removal of a folder is tried that may still get files."""

_held: dict[Path, int | None] = {}
"""The folders of this process, each with the descriptor of its lock; None: there are no locks."""

_made: list[Path] = []
"""Folders of users that this process made, each after the one it is in; they stay if they hold
something at the end."""

_removing = Lock()
"""Held while it is settled who lets go of a lock."""

_making = RLock()
"""Held while a folder is made or results get their names; a thread that ends the process waits for
it, and keeps it."""


class Scratch:
    """A folder that is made when it is first wanted."""

    def __init__(self, parent: Path | None = None) -> None:
        """Make nothing yet. None as parent: the folder for temporary files (TMPDIR)."""
        self.parent = parent or Path(tempfile.gettempdir())
        self.removed: list[Path] = []
        """Folders that killed processes had left there."""
        self._folder: Path | None = None
        self._lock = Lock()

    def folder(self) -> Path:
        """The folder.

        Raises:
            OSError: it can't be made.
        """
        with self._lock:
            if self._folder is None:
                self.removed += remove_leftovers(self.parent)
                self._folder = _make(self.parent)
            return self._folder

    def remove_leftovers(self) -> list[Path]:
        """Remove what killed processes left where the folder is to be; all that was removed."""
        self.removed += remove_leftovers(self.parent)
        return self.removed

    def close(self) -> None:
        """Remove the folder with all that is in it; safe to call twice."""
        with self._lock:
            if self._folder is not None:
                _remove(self._folder)
                self._folder = None

    def leave(self) -> None:
        """Leave the folder as a kill does: it becomes a leftover for the next one to find."""
        with self._lock:
            if self._folder is not None:
                _unlock(self._folder)
                self._folder = None


def scratch_parent(database: Path) -> Path:
    """Where a run on this database puts its folder: where TMPDIR says, else next to the database.

    The usual folder for temporary files is often in memory, which is what there is too little of.

    Raises:
        CannotStartError: TMPDIR names no folder that can be written to.
    """
    return _named_parent() or database.parent


def _named_parent() -> Path | None:
    """The folder that TMPDIR names; None: it names none."""
    named = os.environ.get("TMPDIR")
    return _usable(named) if named else None


@cache  # asked once, before the start: a folder that goes away later is an OSError
def _usable(named: str) -> Path:
    if not os.access(named, os.W_OK | os.X_OK) or not Path(named).is_dir():
        raise _not_usable(named)
    return Path(named)


def _not_usable(named: str | Path) -> CannotStartError:
    return CannotStartError(
        f"The folder `{named}` for temporary files can't be used",
        why="the variable TMPDIR names no folder, or one that can't be written to",
        advice="Set TMPDIR to another one, or unset it.",
    )


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder where TMPDIR says, else in the usual place; removed at the end of the block.

    Raises:
        CannotStartError: TMPDIR names no folder that can be written to.
    """
    parent = _named_parent() or Path(tempfile.gettempdir())
    remove_leftovers(parent)
    try:
        folder = _make(parent)
    except (FileNotFoundError, PermissionError) as cause:
        # root may write to `/proc`, which takes no folder
        raise _not_usable(parent) from cause
    try:
        yield folder
    finally:
        _remove(folder)


def make_folder(folder: Path) -> None:
    """Make a folder for results, and those that it is in.

    Those that are new and stay empty are removed by `remove_empty`, and after a signal.

    Raises:
        OSError: it can't be made, or it is no folder.
    """
    above = reversed((folder, *folder.parents))
    with _making:
        # known before they are there: making them may fail midway
        _made.extend(made for made in above if not os.path.lexists(made))
        folder.mkdir(parents=True, exist_ok=True)


def remove_empty() -> None:
    """Remove the folders for results that this process made and that hold nothing."""
    for folder in reversed(_made.copy()):
        with suppress(OSError):  # it holds something, or is not made yet
            folder.rmdir()
            _made.remove(folder)


def remove_all() -> None:
    """Remove all folders; called by a thread that then ends the process."""
    for folder in list(_held):
        _remove(folder)
    remove_empty()


def remove_all_for_good() -> None:
    """The same; and every other thread waits that would make a folder afterwards."""
    _making.acquire(timeout=REMOVAL_SECONDS)
    remove_all()


def remove_all_of(folder: Path) -> bool:
    """Remove a folder of a process that is being stopped; whether it is gone.

    After a signal the other threads go on for a moment, and may make a file just then.
    """
    deadline = time.monotonic() + REMOVAL_SECONDS
    while True:
        _remove(folder)
        if not folder.exists():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def held_bytes() -> int:
    """The bytes of all files in the folders of this process."""
    total = 0
    for folder in list(_held):
        for file in _entries(folder):
            with suppress(OSError):  # it may be gone by now
                total += file.stat().st_size
    return total


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the folders that killed processes left in `parent`; returns which those were.

    A folder that is empty but for its lock file is not named: its process may be removing it now.
    """
    removed = []
    for folder in _entries(parent):
        if not folder.name.startswith(PREFIX):
            continue
        if (descriptor := lock_of_leftover(folder)) is not None:
            if len(_entries(folder)) > 1:
                removed.append(folder)
            remove_folder(folder, descriptor)
    return removed


def remove_folder(folder: Path, lock: int | None = None) -> None:
    """Remove a folder with all that is in it, as far as that is possible, and let go of its lock.

    The lock file goes last: what a kill leaves of the folder is still a leftover. On FUSE and NFS a
    file that is removed while it is open stays under another name. So the lock is let go before its
    file is removed, and as long as something else stays, so does that file.
    """
    for entry in _entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != LOCK_FILE:
            with suppress(OSError):
                entry.unlink()
    if lock is not None:
        os.close(lock)
    with suppress(OSError):
        if {entry.name for entry in folder.iterdir()} <= {LOCK_FILE}:
            (folder / LOCK_FILE).unlink(missing_ok=True)
            folder.rmdir()


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it can't be read, or is gone: others may remove it too."""
    # not `glob`, which looks whether the folder is there and then fails if it has just gone
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def lock_of_leftover(folder: Path) -> int | None:
    """A descriptor that locks a folder which a killed process left; None if none has left it."""
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder / LOCK_FILE, flags)
    except OSError:
        return None
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    os.close(descriptor)
    return None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """No signal ends the process during the block, which takes moments."""
    with _making:
        yield


def _make(parent: Path) -> Path:
    with _making:
        return _made_and_locked(parent)


def _made_and_locked(parent: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        _held[folder] = _locked(folder)
    except OSError:
        # without a lock file nobody would ever remove it; `rmtree` would need a descriptor
        with suppress(OSError):
            (folder / f"{LOCK_FILE}-new").unlink(missing_ok=True)
            folder.rmdir()
        raise
    return folder


def _locked(folder: Path) -> int | None:
    """Lock a new folder for as long as this process lives, where its file system has locks."""
    # under its name the file is always locked: nobody takes a new folder for a leftover
    unlocked = folder / f"{LOCK_FILE}-new"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # nobody could know whether the folder is in use: without the file it is never taken for a
        # leftover
        os.close(descriptor)
        unlocked.unlink()
        return None
    unlocked.rename(folder / LOCK_FILE)
    return descriptor


def _remove(folder: Path) -> None:
    # it stays known until it is gone: a thread that ends the process removes it too
    with _removing:
        descriptor = _held.get(folder)
        if folder in _held:
            _held[folder] = None
    remove_folder(folder, descriptor)
    _held.pop(folder, None)


def _unlock(folder: Path) -> None:
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        os.close(descriptor)
