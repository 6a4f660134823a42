"""What the steps ask the database beside the flow.

They ask for parents that do not come through it, for blocks that events share, and for whole events
that were put aside.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.event_blocks import of_event, packed_by_event
from connectors.lookup import (
    BLOCK,
    EVENT_WITH_BLOCKS,
    LookUp,
    delivered_inits,
    known_event,
    looking_up,
    undelivered_by_index,
)
from connectors.schema import read_schema
from connectors.sqlite import Connection, connect, execute, query, scalar
from connectors.undelivered import HIGHEST_ROWID
from operators.check.batch import NodeCheck
from operators.check.later import AsideLimits, AsideSettings
from operators.decode import decode_events
from operators.delivered import DeliveredInits
from operators.encoding.envelope import payload_multihash
from operators.order import KNOWN
from operators.schemas import RAW, Measure, unmeasured

LOWEST_ROWID = "SELECT min(rowid) FROM ceramic_one_event"
FEW_UNDELIVERED = """
    SELECT count(*) FROM (SELECT 1 FROM ceramic_one_event WHERE delivered IS NULL LIMIT ?)
"""
"""Counts up to a number that it is given, in the index on `delivered`."""

DECODED_TOGETHER = 256
"""Events whose blocks are looked up and decoded in one call: some may have megabytes."""

_UNNOTED, _NO_STREAM = pa.scalar(b"", pa.binary()), pa.scalar(None, pa.binary())
_NOTHING = pa.RecordBatch.from_pylist([], schema=KNOWN)


@dataclass(frozen=True)
class LookUpSettings:
    """What is remembered of the database, and where it goes when it does not fit."""

    budget_bytes: int = 64 * 1024 * 1024
    """Of memory, for all that is remembered."""
    spill_folder: Callable[[], Path] | None = None
    """Makes a folder for this run alone when it is first called; None: what does not fit is
    forgotten and looked up again."""
    aside: AsideLimits = field(default_factory=AsideLimits)
    """When events are put aside rather than that their shared blocks are looked up one by one."""
    inits_share: float = 1 / 4
    """Of the budget, for the delivered init events; 16 MB hold a million."""
    scan_share: float = 1 / 10
    """If at least so many of all events are undelivered, the delivered init events are read from
    all rows in a row. To look a parent up takes five times as long as to read a row, and far more
    than that where the database is larger than memory. Above 1: never."""
    asked_before_scan: int = 16_384
    """Parents that are looked up while the scan goes on; then the flow waits for it: in a large
    database each look-up is an access to the disk."""
    scan_rows: int = 65_536
    """Rows of one statement of that scan: some 30 ms."""


def _ignored(_: object) -> None:
    """Nobody wants to know."""


class LookUps:
    """The look-ups of one flow in one database.

    `found_wrong` gets the CIDs of events whose blocks say another stream than the node noted;
    `counted_hidden`, where all rows are scanned, how many undelivered events are there that the
    index on `delivered` does not show.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], Connection] = connect,
        *,
        check_node: bool = True,
        measure: Measure = unmeasured,
        settings: LookUpSettings = LookUpSettings(),  # frozen
        found_wrong: Callable[[pa.Array], None] = _ignored,
        counted_hidden: Callable[[int], None] = _ignored,
    ) -> None:
        self._path = path
        self._measure = measure
        self._found_wrong = found_wrong
        self._counted_hidden = counted_hidden
        self._connect = connect
        self._settings = settings
        self._blocks = LookUp(path, BLOCK, connect)
        self._whole_events = LookUp(path, EVENT_WITH_BLOCKS, connect)
        self._lists = LookUp(path, of_event, connect)
        self.check = self._node_check() if check_node else None
        """For `operators.decode.decode`; None leaves out what a node would check."""
        # in a thread of its own: the flow does not wait for it, and asks without it meanwhile
        self._closing = Event()
        self._asked = 0
        beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inits")
        self.delivered_inits: Future[DeliveredInits | None] = beside.submit(self._read_inits)
        """Ready when the scan is; None where there is none."""
        beside.shutdown(wait=False)

    def _node_check(self) -> NodeCheck:
        settings = self._settings
        folder = settings.spill_folder
        aside = AsideSettings(folder, self._fetch_events, settings.aside) if folder else None
        share = int(settings.budget_bytes * (1 - settings.inits_share))
        return NodeCheck(self._fetch, self._all_listed, budget_bytes=share, aside=aside)

    @cached_property
    def _events(self) -> LookUp:
        return LookUp(self._path, known_event(has_init_cid=self._has_init_cid), self._connect)

    @cached_property
    def _has_init_cid(self) -> bool:
        try:
            with looking_up(self._path), closing(self._connect(self._path)) as connection:
                return read_schema(connection, self._path).has_init_cid
        except CannotStartError as cause:
            # the schema was right when the run began: this is a file that can no longer be read
            parts = cause.replaced(unchanged=None).parts()
            raise InterruptedRunError(**parts) from cause

    def parents(self, cids: pa.Array, /, *, by_blocks: bool = False) -> pa.RecordBatch:
        """The events among `cids` that exist, with schema KNOWN; an `operators.order.LookUp`.

        An event's stream is what the node noted in `init_cid`; where it noted none (rows older than
        v0.36), or `by_blocks`, its blocks are decoded. What they say counts, if they can be read.
        """
        if by_blocks:
            return self._find(cids, by_blocks=True)
        self._asked += len(cids)
        is_worth_waiting = self._asked > self._settings.asked_before_scan
        is_ready = is_worth_waiting or self.delivered_inits.done()
        inits = self.delivered_inits.result() if is_ready else None
        if inits is None:
            return self._find(cids)
        are_inits = inits.holds(cids)
        first = cids.filter(pa.array(are_inits))
        known = pa.record_batch(
            [first, first, pa.repeat(pa.scalar(value=True), len(first))], schema=KNOWN
        )
        return pa.concat_batches([known, self._find(cids.filter(pa.array(~are_inits)))])

    def _read_inits(self) -> DeliveredInits | None:
        """The delivered init events, in one scan; None: look-ups of parents are too few for that.

        After a migration they are all that is delivered, and every stream asks for its own.
        """
        settings = self._settings
        if settings.scan_share > 1 or not self._has_init_cid or not self._many_are_undelivered():
            return None
        inits = DeliveredInits(
            int(settings.budget_bytes * settings.inits_share), settings.spill_folder
        )
        for cids in self._scanned_inits():
            # what fails here is the scratch folder, not the database
            if self._closing.is_set() or not inits.add(cids):
                return None
        inits.seal()
        return inits

    def _many_are_undelivered(self) -> bool:
        """Whether so many parents may be asked for that a scan of all rows is worth it."""
        with looking_up(self._path), closing(self._connect(self._path)) as connection:
            highest = scalar(connection, HIGHEST_ROWID)
            enough = max(1, int(highest * self._settings.scan_share))
            return int(scalar(connection, FEW_UNDELIVERED, (enough,))) >= enough

    def _scanned_inits(self) -> Iterator[pa.Array]:
        """The CIDs of the delivered init events, some rows at a time.

        The undelivered events are counted on the way, because to read all rows once more takes long
        where the database is larger than memory.
        """
        settings, hidden, last = self._settings, 0, 0
        with looking_up(self._path), closing(self._connect(self._path)) as connection:
            lowest = scalar(connection, LOWEST_ROWID) or 0
            highest = scalar(connection, HIGHEST_ROWID)
            statement, by_index = delivered_inits(connection), undelivered_by_index(connection)
            while last < highest:
                after, last = last, min(last + settings.scan_rows, highest)
                # both see the same state, whatever the run writes meanwhile
                execute(connection, "BEGIN")
                found = query(connection, statement, (after + 1, last))["cid"]
                shown = int(scalar(connection, by_index, (after + 1, last)))
                execute(connection, "COMMIT")
                cids = pa.concat_arrays([pa.array([], pa.binary()), *found.chunks])
                is_init = pc.greater(pc.binary_length(cids), 0)
                inits = cids.filter(is_init)
                hidden += len(cids) - len(inits) - shown
                yield inits
        if lowest > 0:
            self._counted_hidden(hidden)

    def _find(self, cids: pa.Array, *, by_blocks: bool = False) -> pa.RecordBatch:
        if not len(cids):
            return _NOTHING
        with self._measure("look-up", len(cids)):
            found = self._events.find(cids)
        if not found.num_rows:
            return _NOTHING
        cid, delivered = found["cid"].combine_chunks(), found["delivered"].cast(pa.bool_())
        noted = pc.not_equal(found["stream"], _UNNOTED).combine_chunks()
        stream = pc.if_else(noted, found["stream"].combine_chunks(), _NO_STREAM)
        wanted = cid if by_blocks else cid.filter(pc.invert(noted))
        if len(wanted):
            read = self._streams_in_blocks(wanted, cid)
            # null where either is not known
            self._found_wrong(cid.filter(pc.not_equal(read, stream).fill_null(False)))
            stream = pc.coalesce(read, stream)
        return pa.table([cid, stream, delivered], schema=KNOWN).combine_chunks().to_batches()[0]

    def _streams_in_blocks(self, wanted: pa.Array, cids: pa.Array) -> pa.Array:
        """The streams of n events by their blocks; null where not wanted or not readable."""
        parts = [
            decode_events(self._fetch_events(wanted.slice(first, DECODED_TOGETHER))).links
            for first in range(0, len(wanted), DECODED_TOGETHER)
        ]
        links = pa.Table.from_batches([part.select(["cid", "stream"]) for part in parts])
        read = links.combine_chunks().to_batches()
        if not read:
            return pa.nulls(len(cids), pa.binary())
        return read[0]["stream"].take(pc.index_in(cids, value_set=read[0]["cid"]))

    def _fetch_events(self, cids: pa.Array) -> pa.RecordBatch:
        """The events among `cids` that exist, with schema RAW, without their event blocks."""
        found = self._whole_events.find(cids)
        if not found.num_rows:
            return pa.RecordBatch.from_pylist([], schema=RAW)
        return self._followed(found.cast(RAW).combine_chunks()).combine_chunks().to_batches()[0]

    def _followed(self, raw: pa.Table) -> pa.Table:
        """The same events of schema RAW, with the payloads that the statement does not find.

        It knows only one form of envelope.
        """
        payloads = raw["payload"].to_pylist()
        roots = zip(raw["root"].to_pylist(), payloads, strict=True)
        named = {
            row: key
            for row, (root, payload) in enumerate(roots)
            if not payload and (key := payload_multihash(root))
        }
        if not named:
            return raw
        blocks = self._fetch(pa.array(sorted(set(named.values())), pa.binary()))
        for row, key in named.items():
            payloads[row] = blocks.get(key, b"")
        at = RAW.get_field_index("payload")
        return raw.set_column(at, RAW.field(at), pa.array(payloads, pa.binary()))

    def _fetch(self, multihashes: pa.Array) -> dict[bytes, bytes]:
        with self._measure("look-up", len(multihashes)):
            found = self._blocks.find(multihashes)
        return dict(zip(found["multihash"].to_pylist(), found["bytes"].to_pylist(), strict=True))

    def _all_listed(self, cids: pa.Array) -> pa.Array:
        with self._measure("look-up", len(cids)):
            return packed_by_event(self._lists.find(cids), cids)

    def close(self) -> None:
        """Close what was opened."""
        self._closing.set()
        wait([self.delivered_inits])
        self._blocks.close()
        self._lists.close()
        self._whole_events.close()
        if "_events" in self.__dict__:
            self._events.close()
