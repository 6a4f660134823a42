"""The partitioned source: undelivered events with their blocks, by runs of rowids modulo N."""

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from numpy.typing import NDArray

from connectors.blocks import BlockReader
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.event_blocks import EventBlockReader
from connectors.page_sizes import PageSizes
from connectors.plans import indexed_by
from connectors.run_state import RunState
from connectors.sqlite import (
    CHECK_DISK,
    DATABASE_ERRORS,
    Connection,
    Cursor,
    bound,
    connect,
    rerun_helps,
    sqlite_says,
)
from operators.encoding.cid import root_multihashes
from operators.encoding.envelope import payload_multihashes
from operators.schemas import BLOCKS, RAW, Page

PAGES_AHEAD = 1
"""Pages that wait for the flow; a partition reads one more meanwhile."""

PAGES_A_RELEASE = 16
"""After so many pages of a partition the allocator gives back what it holds for none: a tenth of
the peak, for 1 % of the time."""

FIRST, LAST = -(2**63), 2**63 - 1
"""The smallest and the largest rowid that SQLite has."""

STATE = "in the database"
"""What Bytewax's recovery gets to store."""

PARTITIONS = min(8, max(1, (os.cpu_count() or 1) // 2))
"""Partitions of the source: each reads ahead in a thread of its own, while other threads order and
write. On two cores a second one made a run with its database in memory 10 % slower, and one with a
cold cache 2 % faster; eight made that 17 % faster."""

COUNT_UNDELIVERED = "SELECT count(*) FROM ceramic_one_event WHERE delivered IS NULL"
HIGHEST_ROWID = "SELECT coalesce(max(rowid), 0) FROM ceramic_one_event"

EVENT = {
    "rowid": "rowid",
    "cid": "coalesce(CAST(cid AS BLOB), x'')",
    "order_key": "coalesce(CAST(order_key AS BLOB), x'')",
}
NAMED = ", ".join(f"{expression} AS {name}" for name, expression in EVENT.items())


@dataclass(frozen=True)
class UndeliveredSource(FixedPartitionedSource[Page, str]):
    """Undelivered events, as pages of events with their blocks.

    An empty root or payload is not in the database. The column `event_blocks` is
    empty without `event_blocks`.

    Partition `i/N` reads the runs of rowids whose number is i modulo N, in rowid order.

    What is undelivered stands in the database, so a run that was stopped is simply started again.
    Bytewax's recovery would skip what an earlier run has read and not written, or what another
    database holds under the same rowids: the source refuses to resume.
    """

    path: Path
    run_state: RunState
    partitions: int = PARTITIONS
    connect: Callable[[Path], Connection] = connect
    """Opens a connection for each reading thread."""
    event_blocks: bool = True
    """Whether a page says which blocks are listed for its events, and brings those that lie beside
    theirs: what a check needs, for a third of the time of reading."""
    sizes: PageSizes = field(default_factory=PageSizes)

    def list_parts(self) -> list[str]:
        """The names `0/N` to `N-1/N`."""
        return [f"{index}/{self.partitions}" for index in range(self.partitions)]

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 # Bytewax's signature
        for_part: str,
        resume_state: str | None,
    ) -> "_Partition":
        """Start to read ahead.

        Raises:
            CannotStartError: there is a state to resume from.
        """
        if resume_state is not None:
            error = CannotStartError(
                f"Can't resume reading `{self.path}` from a recovery store",
                why="what is undelivered stands in the database itself",
                advice="Run without the recovery store (`-r`): every run goes on where the last "
                "one ended.",
            )
            self.run_state.fail(error)
            raise error
        return _Partition(self, for_part)

    def runs(self, connection: Connection, part: str, start: int) -> Iterator[pa.RecordBatch]:
        """The events of a partition from a rowid on, some at a time."""
        return _runs(connection, part, self.sizes.run_rows, start)


class _Partition(StatefulSourcePartition[Page, str]):
    def __init__(self, source: UndeliveredSource, name: str) -> None:
        self._source = source
        self._name = name
        self._pages_read = 0
        self._pages: queue.Queue[Page | BaseException | None] = queue.Queue(PAGES_AHEAD)
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_ahead, name=f"read {name}", daemon=True)
        self._reader.start()

    def next_batch(self) -> list[Page]:
        try:
            page = self._pages.get_nowait()
        except queue.Empty:
            return []
        if page is None:
            # what pages took is free, but still held: at the end of input the rest is ordered all
            # at once
            pa.default_memory_pool().release_unused()
            self._source.run_state.end_partition()
            raise StopIteration
        if isinstance(page, BaseException):
            self._source.run_state.fail(page)
            raise page
        self._pages_read += 1
        if self._pages_read % PAGES_A_RELEASE == 0:
            pa.default_memory_pool().release_unused()
        self._source.run_state.add_discovered(page.events.num_rows)
        return [page]

    def snapshot(self) -> str:
        return STATE

    def close(self) -> None:
        self._stop.set()
        self._reader.join()

    def _read_ahead(self) -> None:
        where = "at its start"
        try:
            with (
                closing(self._source.connect(self._source.path)) as connection,
                closing(read_pages(connection, self._name, self._source)) as pages,
            ):
                while (page := self._read(pages)) is not None:
                    where = f"behind rowid `{page.events['rowid'][-1]}`"
                    if not self._hand_over(page):
                        return
            self._hand_over(None)
        except DATABASE_ERRORS as cause:
            self._hand_over(
                InterruptedRunError(
                    f"Reading `{self._source.path}` failed {where} in partition `{self._name}`",
                    why=sqlite_says(cause),
                    advice=CHECK_DISK,
                    retry=rerun_helps(cause),
                )
            )
        except BaseException as cause:  # noqa: BLE001 # else the flow would wait for ever
            self._hand_over(cause)

    def _read(self, pages: Iterator[Page]) -> Page | None:
        """The next page, None behind the last."""
        with self._source.run_state.measure("read", 0) as measured:
            page = next(pages, None)
            measured.rows = 0 if page is None else page.events.num_rows
        return page

    def _hand_over(self, page: Page | BaseException | None) -> bool:
        """Wait for room in the queue; False if the partition was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._pages.put(page, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def next_undelivered(connection: Connection) -> str:
    """The statement for the first undelivered rowid from another on."""
    return f"""
        SELECT rowid
        FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
        WHERE delivered IS NULL AND rowid >= ? ORDER BY rowid LIMIT 1
    """  # constants and a name


def undelivered(connection: Connection) -> str:
    """The statement for the undelivered events from one rowid to another, both included."""
    return f"""
        SELECT {NAMED}
        FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
        WHERE delivered IS NULL AND rowid >= ? AND rowid <= ? ORDER BY rowid
    """  # constants and a name


def read_pages(
    connection: Connection, part: str, source: UndeliveredSource, start: int = FIRST
) -> Generator[Page, None, None]:
    """The pages of the partition `part`, named `i/N`, from the rowid `start` on.

    Every statement is a read transaction of its own, so the WAL never grows because of it.
    """
    sizes = source.sizes
    with (
        closing(BlockReader(connection, sizes)) as blocks,
        closing(EventBlockReader(connection, sizes)) as event_blocks,
    ):
        pages = _Pages(blocks, event_blocks if source.event_blocks else None, sizes)
        few: list[pa.RecordBatch] = []
        for events in source.runs(connection, part, start):
            # a page of few events costs as much as one of hundreds
            if few and sum(map(len, few)) + len(events) > sizes.looked_up_rows:
                yield from pages.of(pa.concat_batches(few))
                few = []
            few.append(events)
        if few:
            yield from pages.of(pa.concat_batches(few))


def _runs(connection: Connection, part: str, rows: int, start: int) -> Iterator[pa.RecordBatch]:
    """The undelivered events from a rowid on, of each run of so many rowids that has any."""
    index, partitions = map(int, part.split("/"))
    find_next, find = next_undelivered(connection), undelivered(connection)
    with connection.cursor() as cursor:
        while (first := _rowid(cursor.execute(find_next, bound(start)))) is not None:
            run = first // rows
            run += (index - run) % partitions
            if run * rows > LAST:
                return
            start = max(start, run * rows)
            last = min((run + 1) * rows - 1, LAST)
            found = cursor.execute(find, bound(start, last)).fetch_arrow_table()
            yield from found.combine_chunks().to_batches()
            if last == LAST:
                return
            start = last + 1


def _rowid(cursor: Cursor) -> int | None:
    """The rowid in the first row that a cursor has to give."""
    found = cursor.fetch_arrow_table()
    return int(found["rowid"][0].as_py()) if found.num_rows else None


class _Pages:
    """Makes pages of events."""

    def __init__(
        self, blocks: BlockReader, event_blocks: EventBlockReader | None, sizes: PageSizes
    ) -> None:
        self._blocks = blocks
        self._event_blocks = event_blocks
        self._sizes = sizes

    def of(self, events: pa.RecordBatch) -> Iterator[Page]:
        """These events in as many pages as their blocks take."""
        while events.num_rows:
            roots = root_multihashes(events["cid"])
            count = self._blocks.read_window(roots)
            if not count and events.num_rows > self._sizes.looked_up_rows:
                # half of them may lie together
                half = events.num_rows // 2
                yield from self.of(events.slice(0, half))
                events = events.slice(half)
                continue
            count = count or events.num_rows
            yield from self._with_blocks(events.slice(0, count), roots.slice(0, count))
            events = events.slice(count)

    def _with_blocks(self, events: pa.RecordBatch, roots: pa.Array) -> Iterator[Page]:
        """These events, cut where the blocks of a page have too many bytes."""
        root = self._blocks.find(roots)
        # the first page of a window brings what lies beside all its events
        is_first = True
        for some in cut(root.size, self._sizes.page_bytes):
            some_events = events.slice(some.start, some.stop - some.start)
            some_root = self._blocks.whole(roots[some], root[some])
            named = payload_multihashes(some_root)
            payload = self._blocks.find(named)
            for few in cut(root[some].size + payload.size, self._sizes.page_bytes):
                few_events = some_events.slice(few.start, few.stop - few.start)
                few_payload = self._blocks.whole(named[few], payload[few])
                for raw in self._with_event_blocks(few_events, some_root[few], few_payload):
                    brings = is_first and self._event_blocks is not None
                    yield Page(raw, self._blocks.beside() if brings else BLOCKS.empty_table())
                    is_first = False

    def _with_event_blocks(
        self, events: pa.RecordBatch, root: pa.Array, payload: pa.Array
    ) -> Iterator[pa.RecordBatch]:
        """These events with schema RAW: one batch, or more where their event blocks are many."""
        rowid, cid, order_key = events.columns
        start = 0
        while start < len(cid):
            packed = (
                self._event_blocks.read(cid.slice(start))
                if self._event_blocks
                else pa.array([b""] * len(cid), pa.binary())
            )
            few = slice(start, start + len(packed))
            columns = [rowid[few], cid[few], root[few], payload[few], order_key[few], packed]
            yield pa.record_batch(columns, schema=RAW)
            start = few.stop


def cut(size: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Slices of n values, each of `most` together at most or of one value."""
    ends = size.cumsum()
    start = 0
    while start < len(size):
        before = ends[start] - size[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start = stop
