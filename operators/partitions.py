"""Records in files, by their hashes: those of one file are read together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.spill import SpillError

PARTITIONS = 64
"""How many parts the hashes are cut into: 15 million blocks, of 100 million events, make parts of
12 MB."""

_SHIFT = np.uint64(64 - (PARTITIONS - 1).bit_length())


class PartitionedFiles:
    """Records of one type. None of the files stays open: there may be many of them."""

    def __init__(self, folder: Callable[[], Path], name: str, record: np.dtype[np.void]) -> None:
        """`folder` makes the folder for the files, when it is first called."""
        self.rows = 0
        """How many records there are."""
        self._folder, self._name, self._record = folder, name, record

    def add(self, records: NDArray[np.void], hashes: NDArray[np.uint64]) -> None:
        """Write n records, each into the part of its hash.

        Raises:
            SpillError: the disk is full or fails.
        """
        part = parts(hashes)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(PARTITIONS + 1))
        sorted_records = records[order]
        for index in range(PARTITIONS):
            mine = sorted_records[bounds[index] : bounds[index + 1]]
            if len(mine):
                with spilling(), self._path(index).open("ab") as file:
                    file.write(mine.tobytes())
        self.rows += len(records)

    def read(self, index: int) -> NDArray[np.void]:
        """The records of one part.

        Raises:
            SpillError: the disk fails.
        """
        with spilling():
            if not self.rows or not self._path(index).exists():
                return np.empty(0, dtype=self._record)
            return np.fromfile(self._path(index), dtype=self._record)

    def replace(self, index: int, records: NDArray[np.void]) -> None:
        """Write these records in place of one part.

        Raises:
            SpillError: the disk is full or fails.
        """
        with spilling():
            self._path(index).write_bytes(records.tobytes())

    def mapped(self, index: int) -> NDArray[np.void]:
        """The records of one part as a map of the file: the system may drop and read them again.

        Raises:
            SpillError: the disk fails.
        """
        with spilling():
            if not self._path(index).exists() or not self._path(index).stat().st_size:
                return np.empty(0, dtype=self._record)
            return np.memmap(self._path(index), dtype=self._record, mode="r")

    def clear(self) -> None:
        """Give the disk back."""
        if self.rows:
            for index in range(PARTITIONS):
                self._path(index).unlink(missing_ok=True)
            self.rows = 0

    def _path(self, index: int) -> Path:
        return self._folder() / f"{self._name}-{index}"


def parts(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The part to which each of n hashes belongs."""
    return (hashes >> _SHIFT).astype(np.uint8)


@contextmanager
def spilling() -> Iterator[None]:
    """Raise an error of the disk within the block as one of the scratch folder.

    Raises:
        SpillError: it is one.
    """
    try:
        yield
    except OSError as cause:
        says = cause.strerror or str(cause).splitlines()[0]
        raise SpillError(cause.errno, says, cause.filename) from cause
