"""The partitioned source: undelivered events with the blocks that tell their links, by runs of rowids modulo N."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.blocks import NOTHING, BlockReader, WindowTooLargeError
from connectors.errors import InterruptedRunError
from connectors.event_blocks import ListingReader
from connectors.run_state import RunState
from connectors.sqlite import DATABASE_ERRORS, bound, connect, query, sqlite_says

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

PLAIN_ENVELOPE = b"\xa2\x67payload\x58\x24\x01\x71\x12\x20"
"""How an envelope without other keys begins; behind it stand the 32 bytes of the payload's
digest (CERAMIC.md)."""

LONGEST_CID = 1024
"""Bytes; Arrow's slice kernel fails without an end ("Negative buffer resize")."""

_TWO_BYTES = pa.scalar(b"\x80", pa.binary())
"""From this byte on a codec goes on in the next byte."""

NEXT = "SELECT rowid FROM ceramic_one_event WHERE delivered IS NULL AND rowid > ? ORDER BY rowid LIMIT 1"
EVENTS = "SELECT rowid, cid FROM ceramic_one_event WHERE delivered IS NULL AND rowid > ? AND rowid <= ? ORDER BY rowid"

Follow = Callable[[bytes], bytes | None]
"""From a root block to the multihash of the payload that its envelope names; None: it is no
envelope."""


@dataclass(frozen=True)
class UndeliveredSource(FixedPartitionedSource[pa.RecordBatch, int]):
    """Undelivered events, as batches with the columns rowid, cid, root, payload and listed.

    An empty root or payload is not in the database. `listed` holds the multihashes of the blocks
    that the node listed for the event when it stored it, one behind the other; it is empty without
    `offer`.

    Partition `i/N` reads the runs of RUN_ROWS rowids whose number is i modulo N, in rowid order.
    Its resume state is the last rowid that it emitted, so the source can give exactly-once delivery
    under Bytewax's recovery. N is part of the name: a changed N fails instead of skipping.
    """

    path: Path
    partitions: int
    follow: Follow
    run_state: RunState
    connect: Callable[[Path], Any] = connect
    """Opens a connection for each reading thread."""
    offer: Callable[[int, pa.Table], None] | None = None
    """Takes the blocks that lie beside the events of a page and belong to none of them, as
    multihash and bytes, with the last rowid of the page. With it the source also reads which
    blocks are listed for an event, a third of the time of reading."""

    def list_parts(self) -> list[str]:
        """The names `0/N` to `N-1/N`."""
        return [f"{index}/{self.partitions}" for index in range(self.partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Partition":  # noqa: ARG002 # Bytewax's signature
        """Begin to read ahead, behind the rowid `resume_state`."""
        return _Partition(self, for_part, BEFORE_ALL if resume_state is None else resume_state)


class _Partition(StatefulSourcePartition[pa.RecordBatch, int]):
    def __init__(self, source: UndeliveredSource, name: str, after: int) -> None:
        self._source = source
        self._name = name
        self._last_rowid = after
        self._pages_read = 0
        self._pages: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(PAGES_AHEAD)
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_ahead, name=f"read {name}", daemon=True)
        self._reader.start()

    def next_batch(self) -> list[pa.RecordBatch]:
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
        self._last_rowid = page["rowid"][-1].as_py()
        self._source.run_state.add_discovered(page.num_rows)
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
                    last = page["rowid"][-1].as_py()
                    if not self._hand_over(page):
                        return
            self._hand_over(None)
        except DATABASE_ERRORS as cause:
            where = "at its beginning" if last == BEFORE_ALL else f"behind rowid `{last}`"
            self._hand_over(
                InterruptedRunError(
                    f"Reading `{self._source.path}` failed {where} in partition `{self._name}`",
                    why=f"{sqlite_says(cause)}",
                    advice="Check the disk and `PRAGMA integrity_check`.",
                )
            )
        except BaseException as cause:  # noqa: BLE001 # whatever it is, the flow must see it rather than wait for ever
            self._hand_over(cause)

    def _read(self, pages: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        """The next page, None behind the last."""
        with self._source.run_state.measure("read", 0) as measured:
            page = next(pages, None)
            measured.rows = 0 if page is None else page.num_rows
        return page

    def _hand_over(self, page: pa.RecordBatch | BaseException | None) -> bool:
        """Wait for room in the queue; False if the partition was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._pages.put(page, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def read_pages(
    connection: Any, part: str, after: int, source: UndeliveredSource
) -> Iterator[pa.RecordBatch]:
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
) -> Iterator[pa.RecordBatch]:
    """Pages of these events with their blocks: one, or more where the blocks are large."""
    cid = events["cid"]
    short_codec = pc.less(pc.binary_slice(cid, 1, 2), _TWO_BYTES)
    # the multihash of the root block is the tail of the event's CID, behind a codec of one byte or
    # two
    multihash = pc.if_else(
        short_codec, pc.binary_slice(cid, 2, LONGEST_CID), pc.binary_slice(cid, 3, LONGEST_CID)
    )
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
    payload = blocks.find(_payload_multihashes(root, source.follow))
    if source.offer is not None:
        source.offer(events["rowid"][-1].as_py(), blocks.others())
    listed = lists.read(cid) if source.offer else pa.array([b""] * len(cid), pa.binary())
    columns = {
        "rowid": events["rowid"],
        "cid": cid,
        "root": root,
        "payload": payload,
        "listed": listed,
    }
    yield pa.record_batch(columns)


def _payload_multihashes(root: pa.Array, follow: Follow) -> pa.Array:
    """The multihash of the payload block that each envelope names; empty for what is no envelope."""
    plain = pc.starts_with(root, PLAIN_ENVELOPE)
    at = len(PLAIN_ENVELOPE) - 2
    named = pc.if_else(plain, pc.binary_slice(root, at, at + 34), NOTHING)
    other = pc.indices_nonzero(pc.and_not(pc.match_substring(root, b"payload"), plain)).to_pylist()
    if not other:
        return named
    multihashes = named.to_pylist()
    for row in other:
        multihashes[row] = follow(root[row].as_py()) or b""
    return pa.array(multihashes, pa.binary())
