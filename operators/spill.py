"""Batches that do not fit in memory, in an Arrow file each, found again by a number."""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class SpillSettings:
    """When a shard of waiting events goes to files, and where they lie."""

    folder: Callable[[], Path]
    """Makes a folder that belongs to this run alone when it is first called; the caller of the flow
    removes it."""
    shard_bytes: int
    """Bytes that a shard may hold in memory."""
    partitions: int
    """How many parts a shard is divided into, by its streams; they are loaded one after the
    other."""
    flush_rows: int = 65_536
    """Events that a shard collects before it writes them: about 8 MB."""


class SpillError(OSError):
    """The scratch folder can't take or give a batch: the disk is full or fails."""


class Spill:
    """An Arrow file of batches. It is written to its end, then read as a map of memory.

    What is read takes no memory of the process: the system may drop it and read it again.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Make the file.

        Raises:
            SpillError: it can't be made.
        """
        self._path = path
        self._numbers: dict[int, list[int]] = defaultdict(list)
        self._written = 0
        self._mapped: pa.ipc.RecordBatchFileReader | None = None
        try:
            self._writer = pa.ipc.new_file(str(path), schema)
        except OSError as cause:
            raise _spill_error(path, cause) from cause

    def add(self, key: int, batch: pa.RecordBatch) -> None:
        """Write a batch, to be found by this key.

        Raises:
            SpillError: the disk is full or fails.
        """
        try:
            self._writer.write_batch(batch)
        except OSError as cause:
            raise _spill_error(self._path, cause) from cause
        self._numbers[key].append(self._written)
        self._written += 1

    def batches(self, key: int) -> list[pa.RecordBatch]:
        """All batches of this key, in the order in which they came; nothing is added after that.

        Raises:
            SpillError: the disk is full or fails.
        """
        try:
            if self._mapped is None:
                self._writer.close()
                self._mapped = pa.ipc.open_file(pa.memory_map(str(self._path)))
            return [self._mapped.get_batch(number) for number in self._numbers.get(key, ())]
        except OSError as cause:
            raise _spill_error(self._path, cause) from cause

    def remove(self) -> None:
        """Give the disk back; batches that were read stay readable."""
        self._path.unlink(missing_ok=True)


def _spill_error(path: Path, cause: OSError) -> SpillError:
    # Arrow puts its own words around the system's reason
    reason = os.strerror(cause.errno) if cause.errno else str(cause).splitlines()[0]
    return SpillError(cause.errno, reason, str(path.parent))
