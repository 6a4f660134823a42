"""Which init events are delivered: a set of CIDs in 16 bytes each, in files beyond a budget."""

from collections.abc import Callable
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
    """A set of CIDs, which may be asked by other threads while it grows.

    Until it is sealed it may not say of all that were added that it holds them.
    """

    def __init__(self, budget_bytes: int, folder: Callable[[], Path] | None = None) -> None:
        """Keep so many bytes in memory; `folder` makes a folder for what does not fit."""
        self._budget_bytes, self._folder = budget_bytes, folder
        self._runs: tuple[NDArray[np.void], ...] = ()
        """Sorted keys in memory, each run at least twice as long as the next: so each key is moved
        at most log2(n) times."""
        self._files = PartitionedFiles(folder, "inits", KEY) if folder else None
        self._parts_in_files: tuple[NDArray[np.void], ...] = ()

    def add(self, cids: pa.Array) -> bool:
        """Add some CIDs; those in another form than usual are left out. False: there is no room.

        Raises:
            OSError: the disk is full or fails.
        """
        keys, usual = _keys(cids)
        runs, new = [*self._runs], _sorted(keys[usual])
        while runs and len(runs[-1]) < 2 * len(new):
            new = _sorted(np.concatenate([runs.pop(), new]))
        # in one step, because another thread may ask at any time
        self._runs = (*runs, new)
        if sum(map(len, self._runs)) * KEY.itemsize <= self._budget_bytes:
            return True
        if self._files is None:
            return False
        self._spill(self._files)
        return True

    def seal(self) -> None:
        """Sort what was added to files; nothing is added any more.

        Raises:
            OSError: the disk is full or fails.
        """
        if self._files is None or not self._files.rows:
            return
        self._spill(self._files)
        found = []
        for part in range(PARTITIONS):
            self._files.replace(part, _sorted(self._files.read(part)))
            found.append(self._files.mapped(part))
        self._parts_in_files = tuple(found)

    def holds(self, cids: pa.Array) -> NDArray[np.bool_]:
        """Which of n CIDs are in the set."""
        keys, usual = _keys(cids)
        found = np.zeros(len(cids), dtype=np.bool_)
        rows = np.flatnonzero(usual)
        for run in self._runs:
            found[rows] |= _holds(run, keys[rows])
        if self._parts_in_files:
            part_of = parts(keys["word"][rows])
            for part in np.unique(part_of).tolist():
                some = rows[part_of == part]
                found[some] |= _holds(self._parts_in_files[part], keys[some])
        return found

    def _spill(self, files: PartitionedFiles) -> None:
        for keys in self._runs:
            files.add(keys, keys["word"])
        self._runs = ()


def _sorted(keys: NDArray[np.void]) -> NDArray[np.void]:
    return keys[np.argsort(keys["word"], kind="stable")]


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
