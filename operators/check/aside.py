"""Events that are put aside, because blocks that they share are not kept in memory.

To look up each such block costs an access to the disk for each. But all of them are read with some
event, and those for which there is no memory are kept in files. So what the events need is joined
with these files, part by part.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.check.needs import NEED, Needs
from operators.encoding.columns import short, spans
from operators.partitions import PARTITIONS, PartitionedFiles, parts, spilling
from operators.schemas import LINKS

ASIDE = LINKS.append(pa.field("needs", pa.binary(), nullable=False))
"""Events, each with what it needs of blocks that are not kept, as records of type NEED."""

_NUMBERED_NEED = np.dtype([("event", "i8"), ("need", NEED)])

HashFunction = Callable[[NDArray[np.uint64]], NDArray[np.uint64]]
"""From n keys to their hashes."""


class Aside:
    """Events of schema ASIDE, in memory up to a budget and in files beyond it."""

    def __init__(
        self, folder: Callable[[], Path], name: str, budget_bytes: int, hashes: HashFunction
    ) -> None:
        """`folder` makes a folder when it is first called; `name` is this one's own there."""
        self.events = 0
        """How many there are."""
        self._folder, self._name, self._hashes = folder, name, hashes
        self._budget_bytes = budget_bytes
        self._needs = PartitionedFiles(folder, f"{name}-needs", _NUMBERED_NEED)
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = self._spilled = 0
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    @property
    def held(self) -> tuple[pa.RecordBatch, ...]:
        """Those in memory."""
        return tuple(self._held)

    def put(self, events: pa.RecordBatch) -> None:
        """Put some events aside.

        Raises:
            SpillError: the disk is full or fails.
        """
        self._held.append(events)
        self._held_bytes += events.nbytes
        self.events += events.num_rows
        if self._held_bytes > self._budget_bytes:
            self._spill()

    def needs(self) -> Iterator[tuple[int, NDArray[np.int64], Needs]]:
        """What the events need, part by part: which part, and of each need its event's number.

        Events are numbered in the order of `batches`.

        Raises:
            SpillError: the disk is full or fails.
        """
        if self._spilled:
            self._spill()
            for part in range(PARTITIONS):
                numbered = self._needs.read(part)
                if len(numbered):
                    yield part, numbered["event"], numbered["need"]
            return
        numbered = self._held_needs()
        part_of = parts(self._hashes(short(numbered["need"]["digest"])))
        for part in np.unique(part_of).tolist():
            mine = numbered[part_of == part]
            yield part, mine["event"], mine["need"]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All events, in the order in which they came.

        Raises:
            SpillError: the disk fails.
        """
        if self._writer is not None:
            with spilling():
                self._writer.close()
            self._writer = None
            # a map of the file takes no memory of the process
            with spilling():
                file = pa.memory_map(str(self._path))
                reader = pa.ipc.open_stream(file)
            with file, reader:
                yield from reader
        yield from self._held

    def clear(self) -> None:
        """Forget all events, and give the disk back."""
        self._needs.clear()
        if self._spilled:
            self._path.unlink()
        self._held, self._held_bytes, self._spilled, self.events = [], 0, 0, 0

    def _spill(self) -> None:
        if not self._held:
            return
        needs = self._held_needs()
        self._needs.add(needs, self._hashes(short(needs["need"]["digest"])))
        with spilling():
            if self._writer is None:
                self._writer = pa.ipc.new_stream(str(self._path), ASIDE)
            for batch in self._held:
                self._writer.write_batch(batch)
        self._spilled += sum(batch.num_rows for batch in self._held)
        self._held, self._held_bytes = [], 0

    def _held_needs(self) -> NDArray[np.void]:
        """What the events in memory need, as records of type _NUMBERED_NEED."""
        column = pa.chunked_array([batch["needs"] for batch in self._held], pa.binary())
        whole = column.combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
        data, start, end = spans(whole)
        needs = data[start[0] : end[-1]].view(NEED) if len(whole) else np.empty(0, dtype=NEED)
        numbered = np.empty(len(needs), dtype=_NUMBERED_NEED)
        first = self._spilled
        numbered["event"] = np.repeat(
            np.arange(first, first + len(whole)), (end - start) // NEED.itemsize
        )
        numbered["need"] = needs
        return numbered

    @property
    def _path(self) -> Path:
        return self._folder() / f"{self._name}-events"


def with_needs(links: pa.RecordBatch, rows: NDArray[np.intp], needs: Needs) -> pa.RecordBatch:
    """Events of schema LINKS as ASIDE; `rows`, which rise, are those of the events of the needs."""
    counts = np.bincount(rows, minlength=links.num_rows) * NEED.itemsize
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(counts, dtype=np.int32)])
    packed = pa.Array.from_buffers(
        pa.binary(),
        links.num_rows,
        [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(needs).tobytes())],
    )
    return pa.record_batch([*links.columns, packed], schema=ASIDE)
