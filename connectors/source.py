"""The partitioned source: undelivered events with the blocks that tell their links, by runs of rowids modulo N."""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.blocks import BlockReader, WindowTooLargeError
from connectors.errors import InterruptedRunError
from connectors.event_blocks import ListingReader
from connectors.run_state import RunState
from connectors.sqlite import (
    CHECK_DISK,
    DATABASE_ERRORS,
    bound,
    connect,
    query,
    rerun_helps,
    sqlite_says,
)
from operators.encoding.cid import root_multihashes
from operators.encoding.envelope import payload_multihashes
from operators.schemas import RAW, Page

RUN_ROWS = 8192
"""Consecutive rowids that are dealt out together, and events of a page at the most: about 6 MB and
20 ms of reading.

Single rowids dealt out modulo N would make each of N partitions walk over all rows and touch every
page of the tables: reading took 36 % more time with 4 partitions than with one. Runs half as long
made a whole run 10 % slower, for the calls that each page costs.
"""

LOOKED_UP_ROWS = 1024
"""Events of a page at the most where blocks are looked up one by one: nothing else bounds its
memory then. Runs with few events are put together to pages of so many."""

PAGES_AHEAD = 1
"""Pages that wait for the flow; a partition reads one more meanwhile."""

PAGES_A_RELEASE = 16
"""After so many pages of a partition the allocator gives back what it holds for none: a tenth of
the peak, for 1 % of the time."""

BEFORE_ALL, LAST = -(2**63), 2**63 - 1
"""Smaller than any rowid but one that no node makes, and the largest."""

PARTITIONS = min(8, max(1, (os.cpu_count() or 1) // 2))
"""Partitions of the source: each reads ahead in a thread of its own, while other threads order and
write. On two cores a second one made a run with its database in memory 10 % slower, and one with a
cold cache 2 % faster; eight made that 17 % faster."""

NEXT = "SELECT rowid FROM ceramic_one_event WHERE delivered IS NULL AND rowid > ? ORDER BY rowid LIMIT 1"
EVENTS = """
    SELECT rowid, cid, coalesce(CAST(order_key AS BLOB), x'') AS order_key FROM ceramic_one_event
    WHERE delivered IS NULL AND rowid > ? AND rowid <= ? ORDER BY rowid
"""


@dataclass(frozen=True)
class UndeliveredSource(FixedPartitionedSource[Page, int]):
    """Undelivered events, as pages of events with their blocks.

    An empty root or payload is not in the database. The column `event_blocks` is empty without them.

    Partition `i/N` reads the runs of RUN_ROWS rowids whose number is i modulo N, in rowid order.
    Its resume state is the last rowid that it emitted, so the source can give exactly-once delivery
    under Bytewax's recovery. N is part of the name: a changed N fails instead of skipping.
    """

    path: Path
    run_state: RunState
    partitions: int = PARTITIONS
    connect: Callable[[Path], Any] = connect
    """Opens a connection for each reading thread."""
    event_blocks: bool = True
    """Whether a page says which blocks are listed for its events, and brings those that lie beside
    theirs: what a check needs, for a third of the time of reading."""

    def list_parts(self) -> list[str]:
        """The names `0/N` to `N-1/N`."""
        return [f"{index}/{self.partitions}" for index in range(self.partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Partition":  # noqa: ARG002 # Bytewax's signature
        """Begin to read ahead, behind the rowid `resume_state`."""
        return _Partition(self, for_part, BEFORE_ALL if resume_state is None else resume_state)


class _Partition(StatefulSourcePartition[Page, int]):
    def __init__(self, source: UndeliveredSource, name: str, after: int) -> None:
        self._source = source
        self._name = name
        self._last_rowid = after
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
        self._last_rowid = _last_rowid(page)
        self._source.run_state.add_discovered(page.events.num_rows)
        return [page]

    def snapshot(self) -> int:
        return self._last_rowid

    def close(self) -> None:
        self._stop.set()
        self._reader.join()

    def _read_ahead(self) -> None:
        last = self._last_rowid
        try:
            with closing(self._source.connect(self._source.path)) as connection:
                pages = read_pages(connection, self._name, last, self._source)
                while (page := self._read(pages)) is not None:
                    last = _last_rowid(page)
                    if not self._hand_over(page):
                        return
            self._hand_over(None)
        except DATABASE_ERRORS as cause:
            where = "at its beginning" if last == BEFORE_ALL else f"behind rowid `{last}`"
            self._hand_over(
                InterruptedRunError(
                    f"Reading `{self._source.path}` failed {where} in partition `{self._name}`",
                    why=f"{sqlite_says(cause)}",
                    advice=CHECK_DISK,
                    retry=rerun_helps(cause),
                )
            )
        except BaseException as cause:  # noqa: BLE001 # whatever it is, the flow must see it rather than wait for ever
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


def read_pages(connection: Any, part: str, after: int, source: UndeliveredSource) -> Iterator[Page]:
    """The pages of partition `part`, named `i/N`, behind the rowid `after`; every statement is a read transaction of its own."""
    with closing(BlockReader(connection)) as blocks, closing(ListingReader(connection)) as lists:
        few: list[pa.RecordBatch] = []
        for events in _runs(connection, part, after):
            # a page of few events costs as much as one of hundreds
            if sum(run.num_rows for run in few) + events.num_rows > LOOKED_UP_ROWS and few:
                yield from _with_blocks(pa.concat_batches(few), blocks, lists, source)
                few = []
            few.append(events)
        if few:
            yield from _with_blocks(pa.concat_batches(few), blocks, lists, source)


def _runs(connection: Any, part: str, after: int) -> Iterator[pa.RecordBatch]:
    """The undelivered events of each run of a partition that has any."""
    index, partitions = map(int, part.split("/"))
    with connection.cursor() as cursor:
        while (first := _first(cursor, after)) is not None:
            run = first // RUN_ROWS
            run += (index - run) % partitions
            if run * RUN_ROWS > LAST:
                return
            after = max(after, run * RUN_ROWS - 1)
            last = min((run + 1) * RUN_ROWS - 1, LAST)
            yield from query(connection, EVENTS, (after, last)).combine_chunks().to_batches()
            after = last


def _first(cursor: Any, after: int) -> int | None:
    """The first undelivered rowid behind `after`."""
    found = cursor.execute(NEXT, bound(after)).fetch_arrow_table()
    return int(found["rowid"][0].as_py()) if found.num_rows else None


def _with_blocks(
    events: pa.RecordBatch, blocks: BlockReader, lists: ListingReader, source: UndeliveredSource
) -> Iterator[Page]:
    """Pages of these events with their blocks: one, or more where the blocks are large."""
    cid = events["cid"]
    multihash = root_multihashes(cid)
    try:
        fits = blocks.read_window(multihash) or events.num_rows <= LOOKED_UP_ROWS
    except WindowTooLargeError:
        fits = False
    if not fits:
        half = events.num_rows // 2
        yield from _with_blocks(events.slice(0, half), blocks, lists, source)
        yield from _with_blocks(events.slice(half), blocks, lists, source)
        return
    root = blocks.find(multihash)
    payload = blocks.find(payload_multihashes(root))
    columns = [events["rowid"], cid, root, payload, events["order_key"]]
    if not source.event_blocks:
        yield Page(_raw([*columns, pa.array([b""] * len(cid), pa.binary())]))
        return
    yield Page(_raw([*columns, lists.read(cid)]), blocks.others())


def _raw(columns: list[pa.Array]) -> pa.RecordBatch:
    return pa.record_batch(columns, schema=RAW)


def _last_rowid(page: Page) -> int:
    return int(page.events["rowid"][-1].as_py())
