"""Which init events are delivered: a set of CIDs in 16 bytes each, in files beyond a budget."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.columns import DIGEST, digests, holds, short, spans
from operators.encoding.layouts import CBOR_CID, JOSE_CID
from operators.partitions import PARTITIONS, PartitionedFiles, parts

KEY: Final = np.dtype([("word", "u8"), ("other", "u8")])
"""A digest as `short` makes it; the last bit is that of the codec in its place."""

_FORMS = ((CBOR_CID, np.uint64(0)), (JOSE_CID, np.uint64(1)))


class DeliveredInits:
    """A set of CIDs: all are added, then it is sealed, then it can be asked."""

    def __init__(self, budget_bytes: int, folder: Callable[[], Path] | None = None) -> None:
        """Keep so many bytes in memory; `folder` makes a folder for what does not fit."""
        self._budget_bytes, self._folder = budget_bytes, folder
        self._added: list[NDArray[np.void]] = []
        self._files = PartitionedFiles(folder, "inits", KEY) if folder else None
        self._sorted: list[NDArray[np.void]] = []

    def add(self, cids: pa.Array) -> bool:
        """Add some CIDs; those in another form than usual are left out. False: there is no room.

        Raises:
            OSError: the disk is full or fails.
        """
        keys, usual = _keys(cids)
        self._added.append(keys[usual])
        if sum(map(len, self._added)) * KEY.itemsize <= self._budget_bytes:
            return True
        if self._files is None:
            return False
        self._spill(self._files)
        return True

    def seal(self) -> None:
        """Sort what was added.

        Raises:
            OSError: the disk is full or fails.
        """
        if self._files is None or not self._files.rows:
            keys = np.concatenate([np.empty(0, dtype=KEY), *self._added])
            self._added = []
            self._sorted = [keys[np.argsort(keys["word"])]]
            return
        self._spill(self._files)
        for part in range(PARTITIONS):
            keys = self._files.read(part)
            self._files.replace(part, keys[np.argsort(keys["word"])])
            self._sorted.append(self._files.mapped(part))

    def holds(self, cids: pa.Array) -> NDArray[np.bool_]:
        """Which of n CIDs are in the set."""
        keys, usual = _keys(cids)
        found = np.zeros(len(cids), dtype=np.bool_)
        for rows, part in self._parts(keys, np.flatnonzero(usual)):
            found[rows] = _holds(part, keys[rows])
        return found

    def _parts(
        self, keys: NDArray[np.void], rows: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.void]]]:
        """The rows to be sought in each sorted part."""
        if len(self._sorted) <= 1:
            yield from ((rows, part) for part in self._sorted)
            return
        part_of = parts(keys["word"][rows])
        for part in np.unique(part_of).tolist():
            yield rows[part_of == part], self._sorted[part]

    def _spill(self, files: PartitionedFiles) -> None:
        for keys in self._added:
            files.add(keys, keys["word"])
        self._added = []


def _holds(part: NDArray[np.void], keys: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which of n keys are in a sorted part."""
    found = np.zeros(len(keys), dtype=np.bool_)
    at = np.searchsorted(part["word"], keys["word"])
    rows = np.flatnonzero(at < len(part))
    while len(rows):
        held = part[at[rows]]
        found[rows] |= held == keys[rows]
        # keys that begin alike stand side by side
        rows = rows[(held["word"] == keys["word"][rows]) & ~found[rows]]
        at[rows] += 1
        rows = rows[at[rows] < len(part)]
    return found


def _keys(cids: pa.Array) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """The keys of n CIDs, and which CIDs are in the usual form; the others' have no meaning."""
    data, start, end = spans(cids)
    keys, usual = np.zeros(len(cids), dtype=KEY), np.zeros(len(cids), dtype=np.bool_)
    for begin, bit in _FORMS:
        rows = np.flatnonzero(end - start == len(begin) + DIGEST)
        rows = rows[holds(data, start[rows], begin)]
        words = short(digests(data, start[rows] + len(begin)))
        keys["word"][rows], keys["other"][rows] = words[:, 0], words[:, 1]
        keys["other"][rows] = (keys["other"][rows] & ~np.uint64(1)) | bit
        usual[rows] = True
    return keys, usual
