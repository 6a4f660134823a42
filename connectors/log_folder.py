"""The folder of a log: it gets a whole log or none."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.report import FILES
from connectors.run_state import RunState

ORDER_FILES = "order-*.parquet"
"""All files of the order, in its order when sorted by name."""

SUMMARY = "replay.json"
"""What the replay did. It is the last file to come and the first to go: a folder without it
holds no complete log."""

PARTIAL = ".partial"
"""The folder inside the log's in which everything is made."""


REMOVALS = 25
"""How often to try to remove an unfinished log: half a second."""


class LogFolder:
    """Makes a log in `partial`, a folder inside, and gives its files their names when all of them are complete and on disk."""

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """Make the folder, and hold `partial` in it.

        Raises:
            CannotStartError: it can't be made, another replay is writing there, or it holds a log that is not to be overwritten.
        """
        self.folder = folder
        self.partial = folder / PARTIAL
        if not overwrite and (taken := self._files()):
            raise CannotStartError(
                f"`{folder}` already holds a log",
                why=f"`{taken[0].name}`",
                advice="Use `--overwrite`, or name another folder.",
            )
        self._made = [made for made in (folder, *folder.parents) if not made.exists()]
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._lock()
            _empty(self.partial)
        except OSError as cause:
            raise CannotStartError(
                f"Can't write to `{folder}`", why=f"{cause.strerror}", advice="Name another folder."
            ) from cause

    def _lock(self) -> None:
        descriptor = os.open(self.partial, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            os.close(descriptor)
            raise CannotStartError(
                f"Another `ceramic-order replay` is writing to `{self.folder}`",
                advice="Wait for it, or name another folder.",
            ) from cause
        self._descriptor: int | None = descriptor

    def publish(self, summary: Mapping[str, Any], run_state: RunState) -> None:
        """Give all files their names, in place of those of an earlier log; `summary` is written beside them.

        Raises:
            InterruptedRunError: the disk is full or fails.
        """
        try:
            (self.partial / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
            made = sorted(self.partial.iterdir(), key=lambda file: file.name == SUMMARY)
            for file in made:
                _sync(file)
            with run_state.writing:  # a signal waits for it
                for old in self._files():
                    old.unlink()
                for file in made:
                    file.rename(self.folder / file.name)
            _sync(self.folder)
        except OSError as cause:
            raise failed_write(self.folder, cause) from cause
        self.abandon()

    def abandon(self) -> None:
        """Remove what has not been published; safe to call twice, and from another thread."""
        for _ in range(REMOVALS):
            shutil.rmtree(self.partial, ignore_errors=True)
            if not self.partial.exists():
                break
            # after a signal the flow goes on for a moment, and may make a file just then
            time.sleep(0.02)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        with suppress(OSError):  # it holds something
            for folder in self._made:
                folder.rmdir()

    def _files(self) -> list[Path]:
        """The files of an earlier log, beginning with the one that makes it complete."""
        return [
            file
            for name in (SUMMARY, *FILES.values(), ORDER_FILES)
            for file in sorted(self.folder.glob(name))
        ]


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def failed_write(folder: Path, cause: OSError) -> InterruptedRunError:
    """The error of a log that could not be written."""
    # Arrow has its own words around the system's reason
    reason = os.strerror(cause.errno) if cause.errno else str(cause).splitlines()[0]
    return InterruptedRunError(
        f"Writing to `{folder}` failed",
        why=f"{reason}",
        unchanged="No part of a new log was left there, and the snapshot is unchanged.",
        advice="Make room (about 70 bytes an event).",
        retry=True,
    )
