"""The partitioned source: undelivered events with the blocks that tell their links, by rowid modulo N."""

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

from connectors.database import SqliteError, connect, query, sqlite_says
from connectors.errors import InterruptedRunError
from connectors.tally import Tally

PAGE_ROWS = 4096
"""Events of one read transaction and one item of the flow: about 3 MB, 20 ms. Smaller pages pay more for each call."""

PAGE_BYTES = 32 * 1024 * 1024
"""A page ends early when its blocks have come to this size: one partition holds at most three pages."""

FETCH_ROWS = 512
"""How many rows the driver gathers at a time; blocks have up to a megabyte."""

PAGES_AHEAD = 2
"""Pages that a partition reads ahead of the flow."""

BEFORE_ALL = -(2**63)
"""Smaller than any rowid but one that no node makes."""

PLAIN_ENVELOPE = b"\xa2\x67payload\x58\x24\x01\x71\x12\x20"
"""How an envelope without other keys begins; behind it stand the 32 bytes of the payload's digest (CERAMIC.md)."""

UNDELIVERED = """
    SELECT rowid FROM ceramic_one_event
    WHERE delivered IS NULL AND rowid > ? AND abs(rowid % ?) = ? ORDER BY rowid LIMIT ?
"""

ROOT = "root.multihash = substr(event.cid, CASE WHEN substr(event.cid, 2, 1) < x'80' THEN 3 ELSE 4 END)"
"""The multihash of the root block is the tail of the event's CID, behind a codec of one byte or two."""

PAYLOAD = f"""
    payload.multihash = CASE WHEN substr(root.bytes, 1, {len(PLAIN_ENVELOPE)}) = x'{PLAIN_ENVELOPE.hex()}'
                             THEN substr(root.bytes, {len(PLAIN_ENVELOPE) - 1}, 34) END
"""

# CROSS JOIN keeps the order of the loops: one pass over the index on `delivered`, then look-ups by key
PAGE = f"""
    SELECT event.rowid AS rowid, event.cid AS cid, coalesce(root.bytes, x'') AS root, coalesce(payload.bytes, x'') AS payload
    FROM ({UNDELIVERED}) AS page
    CROSS JOIN ceramic_one_event AS event ON event.rowid = page.rowid
    LEFT JOIN ceramic_one_block AS root ON {ROOT}
    LEFT JOIN ceramic_one_block AS payload ON {PAYLOAD}
"""  # noqa: S608 # put together from the constants above

Follow = Callable[[bytes], bytes | None]
"""From a root block to the multihash of the payload that its envelope names; None: it is no envelope."""


@dataclass(frozen=True)
class UndeliveredSource(FixedPartitionedSource[pa.RecordBatch, int]):
    """Undelivered events, as batches with the columns rowid, cid, root and payload (an empty block is not in the database).

    Partition `i/N` reads the rows whose rowid is i modulo N, in rowid order. Its resume state is the last rowid that it emitted, so
    the source can give exactly-once delivery under Bytewax's recovery. N is part of the name: a changed N fails instead of skipping.
    """

    path: Path
    partitions: int
    follow: Follow
    tally: Tally
    connect: Callable[[Path], Any] = connect
    """Opens a connection for each reading thread."""

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
            self._source.tally.end_partition()
            raise StopIteration
        if isinstance(page, BaseException):
            self._source.tally.fail(page)
            raise page
        self._last_rowid = page["rowid"][-1].as_py()
        self._source.tally.add_discovered(page.num_rows)
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
                for page in read_pages(connection, self._name, last, self._source.follow):
                    last = page["rowid"][-1].as_py()
                    if not self._hand_over(page):
                        return
            self._hand_over(None)
        except SqliteError as cause:
            self._hand_over(
                InterruptedRunError(
                    f"Reading `{self._source.path}` failed behind rowid `{last}` in partition `{self._name}`: {sqlite_says(cause)}. "
                    "What was delivered before is kept in whole batches. Check the disk and `PRAGMA integrity_check`; then run again."
                )
            )
        except BaseException as cause:  # noqa: BLE001 # whatever it is, the flow must see it rather than wait for ever
            self._hand_over(cause)

    def _hand_over(self, page: pa.RecordBatch | BaseException | None) -> bool:
        """Wait for room in the queue; False if the partition was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._pages.put(page, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def read_pages(connection: Any, part: str, after: int, follow: Follow) -> Iterator[pa.RecordBatch]:
    """The pages of partition `part`, named `i/N`, behind the rowid `after`; each in a read transaction of its own."""
    index, partitions = map(int, part.split("/"))
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)})
        while True:
            chunks, size = [], 0
            with cursor.execute(PAGE, (after, partitions, index, PAGE_ROWS)).fetch_record_batch() as reader:
                for chunk in reader:
                    chunks.append(chunk)
                    size += chunk.nbytes
                    if size >= PAGE_BYTES:
                        break
            page = pa.concat_batches(chunks) if chunks else None
            if not page:
                return
            after = page["rowid"][-1].as_py()
            yield follow_other_envelopes(connection, page, follow)


def follow_other_envelopes(connection: Any, page: pa.RecordBatch, follow: Follow) -> pa.RecordBatch:
    """Fetch the payloads of those envelopes whose form the statement does not know."""
    odd = pc.and_(
        pc.equal(pc.binary_length(page["payload"]), 0),
        pc.and_not(pc.match_substring(page["root"], b"\x67payload"), pc.starts_with(page["root"], PLAIN_ENVELOPE)),
    )
    rows = pc.indices_nonzero(odd).to_pylist()
    if not rows:
        return page
    payloads = page["payload"].to_pylist()
    for row in rows:
        multihash = follow(page["root"][row].as_py())
        found = query(connection, "SELECT bytes FROM ceramic_one_block WHERE multihash = ?", (multihash or b"",))
        payloads[row] = found["bytes"][0].as_py() if found.num_rows else b""
    return page.set_column(page.schema.get_field_index("payload"), "payload", pa.array(payloads, pa.binary()))
