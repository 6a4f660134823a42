"""A folder that gets the files of a result: all of them, or none."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.errors import CannotStartError
from connectors.paths import sync
from connectors.scratch import Scratch, make_folder, remove_empty, uninterrupted


@dataclass
class ResultFolder:
    """Makes files in a new folder inside; they get their names when all are there.

    Files of an earlier result are replaced, any other file is not.
    """

    folder: Path
    files: tuple[str, ...]
    """The names of the Parquet files."""
    mark: frozenset[str]
    """Columns by which a file is known to be of such a result."""
    _scratch: Scratch | None = None

    def prepare(self) -> None:
        """Make the folder, and check that the files can be made in it.

        Raises:
            CannotStartError: they can't, or a file that is none of a report is in their way.
        """
        try:
            make_folder(self.folder)
            self.partial()
        except (OSError, RuntimeError) as cause:
            self.abandon()
            reason = cause.strerror if isinstance(cause, OSError) else "a loop of symbolic links"
            raise CannotStartError(
                f"Can't make a report in the folder `{self.folder}`",
                why=f"{reason}",
                advice="Name another folder.",
            ) from cause
        for name in self.files:
            if os.path.lexists(file := self.folder / name) and not self._is_of_result(file):
                self.abandon()
                raise CannotStartError(
                    f"`{file}` is in the way of a report",
                    why="it is none itself, so it is not replaced",
                    advice="Move it away, or name another folder.",
                )

    def partial(self) -> Path:
        """The new folder in which the files are made.

        Raises:
            OSError: it can't be made.
        """
        self._scratch = self._scratch or Scratch(self.folder)
        return self._scratch.folder()

    def publish(self) -> None:
        """Give the files their names; no stop ever leaves files of two results together.

        Raises:
            OSError: the disk is full or fails.
        """
        for name in self.files:
            sync(self.partial() / name)
        with uninterrupted():
            for name in self.files:
                (self.folder / name).unlink(missing_ok=True)
            sync(self.folder)
            for name in self.files:
                (self.partial() / name).replace(self.folder / name)
        sync(self.folder)
        self.abandon()

    def abandon(self) -> None:
        """Remove what is not published; safe to call twice."""
        if self._scratch is not None:
            self._scratch.close()
        remove_empty()

    def _is_of_result(self, file: Path) -> bool:
        if not file.is_file():
            # opening a named pipe waits for whoever opens its other end
            return False
        try:
            with file.open("rb") as opened:
                return set(pq.read_schema(opened).names) >= self.mark
        except (OSError, pa.ArrowException):
            return False
