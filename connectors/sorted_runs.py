"""Delivered events that wait to be written: rowids with their levels, in runs sorted by rowid.

Rows that are written in rowid order touch each page of the database once, so as many as possible
are collected before they are written. A run takes 16 bytes an event, in memory or in a file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.errors import InterruptedRunError

Integers = NDArray[np.int64]

CHUNK_ROWS = 250_000
"""Events that are numbered and handed to SQLite together: 8 MB. Their pages, which are read ahead,
are some 40 MB."""

SAMPLES_OF_A_CHUNK = 64
"""Rowids that are sampled of each run, to find where to cut a chunk. A chunk may be larger than
wanted by 1/64 for each run."""


class SortedRun(NamedTuple):
    """Events sorted by rowid."""

    rowid: Integers
    level: Integers


@dataclass
class RunFiles:
    """Keeps runs in memory up to a number of bytes, and beyond it in files of a folder."""

    folder: Callable[[], Path] | None
    """Makes a folder that belongs to this run of the program alone; None: all stay in memory."""
    memory_bytes: int
    in_memory: int = 0
    """Bytes of the runs that are in memory now."""
    files: int = 0
    """How many files there have been, for their names."""

    def keep(self, run: SortedRun) -> SortedRun:
        """The same run, in memory or mapped from a file.

        Raises:
            InterruptedRunError: the disk is full or fails.
        """
        size = run.rowid.nbytes + run.level.nbytes
        if self.folder is None or self.in_memory + size <= self.memory_bytes:
            self.in_memory += size
            return run
        try:
            path = self.folder() / f"run-{self.files}"
            self.files += 1
            np.stack(run).tofile(path)
            rowid, level = np.memmap(path, dtype=np.int64, mode="r", shape=(2, len(run.rowid)))
            # a mapped file needs no name any more
            path.unlink()
        except OSError as cause:
            raise InterruptedRunError(
                "Can't keep ordered events in a scratch folder",
                why=f"{cause.strerror or cause}: `{cause.filename}`",
                advice="Make room there, set TMPDIR to another folder, or raise `--memory-limit`.",
                retry=True,
            ) from cause
        return SortedRun(rowid, level)

    def forget(self) -> None:
        """Count runs in memory anew: all that were kept have been written."""
        self.in_memory = 0


def sorted_run(rowid: Integers, level: Integers) -> SortedRun:
    """A run of n events that come in any order."""
    by_rowid = np.argsort(rowid, kind="stable")
    return SortedRun(rowid[by_rowid], level[by_rowid])


def numbered(
    runs: Sequence[SortedRun], first_number: int, chunk_rows: int = CHUNK_ROWS
) -> Iterator[pa.RecordBatch]:
    """Number all events of the runs densely, by level and then by rowid.

    A parent has a smaller level than its children, so it gets a smaller number.

    Args:
        runs: of any distinct rowids.
        first_number: the smallest number.
        chunk_rows: about how many events come together.

    Returns:
        Batches with the columns `delivered` and `rowid`, by rising rowid over all of them.
    """
    if not runs:
        return
    least = min(int(run.level.min()) for run in runs)
    counts = np.zeros(0, dtype=np.int64)
    for run in runs:
        more = np.bincount(run.level - least)
        counts = np.pad(counts, (0, max(0, len(more) - len(counts))))
        counts[: len(more)] += more
    next_number = first_number + np.cumsum(counts) - counts
    for rowid, level in _chunks(runs, chunk_rows):
        rank = level - least
        by_level = np.argsort(rank, kind="stable")
        rank = rank[by_level]
        starts = np.flatnonzero(np.diff(rank, prepend=-1))
        sizes = np.diff(starts, append=len(rank))
        within = np.arange(len(rank)) - np.repeat(starts, sizes)
        numbers = np.empty(len(rank), dtype=np.int64)
        numbers[by_level] = next_number[rank] + within
        next_number[rank[starts]] += sizes
        yield pa.record_batch([pa.array(numbers), pa.array(rowid)], names=["delivered", "rowid"])


def _chunks(runs: Sequence[SortedRun], chunk_rows: int) -> Iterator[SortedRun]:
    """All events by rowid, about `chunk_rows` at a time."""
    rows = sum(len(run.rowid) for run in runs)
    chunks = -(-rows // chunk_rows)
    starts = [np.zeros(1, dtype=np.int64)] * len(runs)
    if chunks > 1:
        step = max(1, chunk_rows // SAMPLES_OF_A_CHUNK)
        samples = np.sort(np.concatenate([run.rowid[::step] for run in runs]))
        cuts = samples[np.linspace(0, len(samples), chunks + 1).astype(np.int64)[1:-1]]
        starts = [np.append(0, np.searchsorted(run.rowid, cuts)) for run in runs]
    ends = [np.append(start[1:], len(run.rowid)) for start, run in zip(starts, runs, strict=True)]
    for chunk in range(chunks):
        parts = [
            SortedRun(*(column[start[chunk] : end[chunk]] for column in run))
            for run, start, end in zip(runs, starts, ends, strict=True)
        ]
        rowid, level = (np.concatenate(column) for column in zip(*parts, strict=True))
        if len(rowid):
            yield SortedRun(rowid, level) if len(runs) == 1 else sorted_run(rowid, level)
