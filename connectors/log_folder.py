"""The folder of a log: it gets a whole log or none, and nothing else in it is touched."""

import errno
import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from connectors.errors import CannotStartError, InterruptedRunError, system_says
from connectors.paths import sync
from connectors.report import FILES
from connectors.run_state import RunState
from connectors.scratch import (
    LOCK_FILE,
    PREFIX,
    Scratch,
    lock_of_leftover,
    make_folder,
    remove_all_of,
    remove_empty,
)

ORDER_FILES = "order-*.parquet"
"""All files of the order; sorted by name they are in its order."""

SUMMARY = "replay.json"
"""The document of the log: what the replay did, and which files are the log's. It is the last
file to come and the first to go: a folder without it holds no complete log."""

EARLIER = f"{SUMMARY}.earlier"
"""The document of the log that a new one replaces, while that is moved to its place."""

ORDER_NAME = re.compile(r"order-\d{5,}\.parquet")
"""The name of a file of the order."""


def is_name_of_log(name: str) -> bool:
    """Whether a file of a log can have this name."""
    return name in {SUMMARY, *FILES.values()} or ORDER_NAME.fullmatch(name) is not None


class LogFolder:
    """Makes a log in `partial`, a new folder inside; files get their names when all are there."""

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """Make the folder, and hold it.

        Raises:
            CannotStartError: it can't be made or written to, another replay is writing there, it
                holds a log that is not to be overwritten, or files that are in the way of one.
        """
        self.folder = folder
        self._overwrite = overwrite
        self.is_moving = False
        """Whether the new log is being moved to its place: it is whole, an earlier one no more."""
        try:
            make_folder(folder)
            self._descriptor: int | None = self._locked()
            _finish_killed(folder, has_locks=self._descriptor is not None)
            self._scratch = Scratch(folder)
            self._require_free()
            self.partial = self._scratch.folder()
            self.removed = self._scratch.removed
            """Folders that killed replays had left in it."""
        except OSError as cause:
            self._release()
            raise CannotStartError(
                f"Can't write to `{folder}`", why=f"{cause.strerror}", advice="Name another folder."
            ) from cause
        except CannotStartError:
            self._release()
            raise

    def _locked(self) -> int | None:
        """Lock the folder for as long as this process lives, where its file system has locks."""
        # a named pipe in its place would wait for its other end
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            os.close(descriptor)
            raise CannotStartError(
                f"Another `ceramic-order replay` is writing to `{self.folder}`",
                advice="Wait for it, or name another folder.",
            ) from cause
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _require_free(self) -> None:
        """Check that nothing but the files of an earlier log will be replaced."""
        owned = _files_of_log(self.folder / SUMMARY)
        if owned and not self._overwrite:
            raise CannotStartError(
                f"`{self.folder}` already holds a log",
                why=f"`{SUMMARY}`",
                advice="Use `--overwrite`, or name another folder.",
            )
        for file in sorted(self.folder.iterdir()):
            if not is_name_of_log(file.name) or (file.name in owned and file.is_file()):
                continue
            not_listed = "no log in its folder lists it, so it is not replaced"
            raise CannotStartError(
                f"`{file}` is in the way of a log",
                why="it is no regular file" if file.name in owned else not_listed,
                advice="Move it away, or name another folder.",
            )

    def publish(self, summary: Mapping[str, object], run_state: RunState) -> None:
        """Give all files their names, in place of those of an earlier log.

        `summary` is written next to them. A process that is killed while it does so, or a disk that
        fails, leaves the whole new log in `partial`, and the next replay into this folder finishes
        the job.

        Raises:
            InterruptedRunError: the disk is full or fails, or something is in the way.
        """
        try:
            self._require_free()
            made = sorted(file for file in self.partial.iterdir() if is_name_of_log(file.name))
            unfinished = self.partial / f"{SUMMARY}.unfinished"
            unfinished.write_text(json.dumps(summary, indent=2) + "\n")
            for file in (*made, unfinished):
                sync(file)
            unfinished.rename(self.partial / SUMMARY)
            sync(self.partial)
            with run_state.writing:  # a signal waits for it
                _put_earlier_aside(self.partial, self.folder)
                self.is_moving = True
                _move_in(self.partial, self.folder)
                self.is_moving = False
        except CannotStartError as cause:
            raise InterruptedRunError(
                cause.what,
                why=cause.why,
                unchanged="No part of a new log was left there, and the snapshot is unchanged.",
                advice=cause.advice,
            ) from cause
        except OSError as cause:
            raise self._failed(cause) from cause
        self.abandon()

    def _failed(self, cause: OSError) -> InterruptedRunError:
        if not self.is_moving:
            return failed_write(self.folder, cause)
        return InterruptedRunError(
            f"Moving the new log to its place in `{self.folder}` failed",
            why=system_says(cause),
            unchanged=self.left_whole,
        )

    @property
    def left_whole(self) -> str:
        """Where the new log is, if it was not moved to its place; as whole sentences."""
        return (
            f"The new log is whole in `{self.partial}`, and the snapshot is unchanged. "
            f"The next replay into `{self.folder}` moves it to its place first."
        )

    def abandon(self) -> None:
        """Remove what has not been published; safe to call twice, and from another thread.

        A log that is being moved to its place stays, as if the process were killed.
        """
        if self.is_moving:
            self._scratch.leave()
            self._release()
            return
        self._scratch.close()
        remove_all_of(self.partial)
        self._release()

    def _release(self) -> None:
        """Unlock the folder, and remove folders that were made and stayed empty."""
        descriptor, self._descriptor = getattr(self, "_descriptor", None), None
        if descriptor is not None:
            os.close(descriptor)
        remove_empty()


def _files_of_log(document: Path) -> list[str]:
    """The names of the files of the log with this document; none: it is no log's."""
    if not document.is_file():
        # reading a named pipe waits for whoever writes into it
        return []
    try:
        said = json.loads(document.read_bytes())
        order = [file["name"] for file in said["files"] if "order_digest" in said]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    names = [*order, *FILES.values(), SUMMARY]
    return names if order and all(map(is_name_of_log, names)) else []


def _finish_killed(folder: Path, *, has_locks: bool) -> None:
    """Finish publishing the log of a replay that was killed while it published.

    That log is complete, and the folder itself holds none.
    """
    for document in sorted(folder.glob(f"{PREFIX}*/{SUMMARY}")):
        if (folder / SUMMARY).exists():
            return
        left = document.parent
        # where there are no locks a folder of ours has no lock file
        if not has_locks and not (left / LOCK_FILE).exists():
            _move_in(left, folder)
        elif (descriptor := lock_of_leftover(left)) is not None:
            _move_in(left, folder)
            os.close(descriptor)


def _put_earlier_aside(partial: Path, folder: Path) -> None:
    """Move the document of an earlier log into `partial`: from then on that log is not whole."""
    if _files_of_log(folder / SUMMARY):
        (folder / SUMMARY).replace(partial / EARLIER)
        sync(folder)


def _move_in(partial: Path, folder: Path) -> None:
    """Move the whole log from `partial` to its place. After a kill it can be called again."""
    new = _files_of_log(partial / SUMMARY)
    for surplus in set(_files_of_log(partial / EARLIER)) - set(new):
        (folder / surplus).unlink(missing_ok=True)
    for name in new:  # the document last, also on the disk
        if name == SUMMARY:
            sync(folder)
        _link(partial / name, folder / name)
    sync(folder)


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, in place of whatever has it; where there are no links, move it."""
    second = file.with_name(f"{file.name}.second")
    second.unlink(missing_ok=True)
    try:
        os.link(file, second)
    except OSError as cause:
        if cause.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
            raise
        second = file
    second.replace(name)


def failed_write(folder: Path, cause: OSError) -> InterruptedRunError:
    """The error of a log that could not be written."""
    return InterruptedRunError(
        f"Writing to `{folder}` failed",
        why=system_says(cause),
        unchanged="No part of a new log was left there, and the snapshot is unchanged.",
        advice="Make room (about 70 bytes an event).",
        retry=True,
    )
