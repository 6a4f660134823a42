"""What the steps ask the database apart from what flows.

They ask for parents that do not come through it, for blocks that events share, and for whole events
that were put aside.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.event_blocks import of_event, packed_by_event
from connectors.lookup import (
    BLOCK,
    BLOCK_SIZE,
    EVENT_SIZE,
    EVENT_WITH_BLOCKS,
    PreparedLookUp,
    known_event,
    looking_up,
)
from connectors.pages import cut
from connectors.schema import read_schema
from connectors.sqlite import Connection, connect
from flows.init_scan import InitScan, ScanSettings
from operators.check.batch import NodeCheck
from operators.check.later import AsideLimits, AsideSettings
from operators.decode import decode_events
from operators.delivered import DeliveredInits
from operators.encoding.envelope import payload_multihash
from operators.order import KNOWN
from operators.schemas import RAW, Measure, unmeasured

FETCHED_BYTES = 8 * 2**20
"""Bytes of blocks that are fetched together at most. A page of events has as many."""

FEW = 4
"""Blocks or events that are fetched together whatever their size, 4 MiB a block at most."""

_UNNOTED, _NO_STREAM = pa.scalar(b"", pa.binary()), pa.scalar(None, pa.binary())
_NOTHING = pa.RecordBatch.from_pylist([], schema=KNOWN)


@dataclass(frozen=True)
class LookUpSettings:
    """What is remembered of the database, and where it goes when it does not fit."""

    budget_bytes: int = 64 * 1024 * 1024
    """Bytes of memory for all that is remembered."""
    spill_folder: Callable[[], Path] | None = None
    """Makes a folder for this run alone when it is first called; None: what does not fit is
    forgotten and looked up again."""
    aside: AsideLimits = field(default_factory=AsideLimits)
    """When events are put aside instead of looking up their shared blocks one by one."""
    inits_share: float = 1 / 4
    """The share of the budget for the delivered init events; 16 MB hold a million."""
    asked_before_scan: int = 2048
    """Parents that are looked up one by one while the scan goes on. Of more it is said that they
    are not known yet: in a large database each look-up is an access to the disk."""
    scan: ScanSettings = field(default_factory=ScanSettings)
    """How the delivered init events are scanned."""


def _ignored(_: object) -> None:
    """Takes what nobody wants to know."""


class LookUps:
    """The look-ups of one flow in one database.

    `found_wrong` gets the CIDs of events whose blocks say another stream than the node noted;
    `counted_hidden`, where all rows are scanned, how many undelivered events are there that the
    index on `delivered` does not show. `read_to` says how far the flow has read, as
    `RunState.read_to` does.
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
        read_to: Callable[[], int | None] | None = None,
    ) -> None:
        self._path = path
        self._measure = measure
        self._found_wrong = found_wrong
        self._connect = connect
        self._settings = settings
        self._blocks = PreparedLookUp(path, BLOCK, connect)
        self._block_sizes = PreparedLookUp(path, BLOCK_SIZE, connect)
        self._whole_events = PreparedLookUp(path, EVENT_WITH_BLOCKS, connect)
        self._event_sizes = PreparedLookUp(path, EVENT_SIZE, connect)
        self._lists = PreparedLookUp(path, of_event, connect)
        self.check = self._node_check() if check_node else None
        """For `operators.decode.decode`; None leaves out what a node would check."""
        self._asked = 0
        inits_bytes = int(settings.budget_bytes * settings.inits_share)
        self.init_scan = InitScan(
            path,
            connect,
            DeliveredInits(inits_bytes, settings.spill_folder),
            settings.scan,
            has_init_cid=lambda: self._has_init_cid,
            read_to=read_to,
            counted_hidden=counted_hidden,
        )

    def _node_check(self) -> NodeCheck:
        settings = self._settings
        folder = settings.spill_folder
        aside = AsideSettings(folder, self._fetch_events, settings.aside) if folder else None
        share = int(settings.budget_bytes * (1 - settings.inits_share))
        return NodeCheck(self._fetch, self._all_listed, budget_bytes=share, aside=aside)

    @cached_property
    def _events(self) -> PreparedLookUp:
        return PreparedLookUp(
            self._path, known_event(has_init_cid=self._has_init_cid), self._connect
        )

    @cached_property
    def _has_init_cid(self) -> bool:
        try:
            with looking_up(self._path), closing(self._connect(self._path)) as connection:
                return read_schema(connection, self._path).has_init_cid
        except CannotStartError as cause:
            # the schema was right when the run started, so the file can no longer be read
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
        are_many = self._asked > self._settings.asked_before_scan
        are_inits, is_all_known = self.init_scan.holds(cids, may_wait=are_many)
        first, others = (cids.filter(pa.array(which)) for which in (are_inits, ~are_inits))
        known = pa.record_batch(
            [first, first, pa.repeat(pa.scalar(value=True), len(first))], schema=KNOWN
        )
        if are_many and not is_all_known:
            nothing = [pa.nulls(len(others), field.type) for field in list(KNOWN)[1:]]
            return pa.concat_batches([known, pa.record_batch([others, *nothing], schema=KNOWN)])
        return pa.concat_batches([known, self._find(others)])

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
            decode_events(raw).links.select(["cid", "stream"]) for raw in self._fetch_events(wanted)
        ]
        if not parts:
            return pa.nulls(len(cids), pa.binary())
        read = pa.concat_batches(parts)
        return read["stream"].take(pc.index_in(cids, value_set=read["cid"]))

    def _fetch_events(self, cids: pa.Array) -> Iterator[pa.RecordBatch]:
        """The events among `cids` that exist, with schema RAW, without their event blocks."""
        for some in self._bounded(cids, self._event_sizes):
            for raw in self._whole_events.find(some).cast(RAW).combine_chunks().to_batches():
                yield from self._followed(raw)

    def _followed(self, raw: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The same events of schema RAW, with the payloads that the statement does not find.

        It knows only one form of envelope. The others are seldom, and come alone.
        """
        roots = zip(raw["root"].to_pylist(), raw["payload"].to_pylist(), strict=True)
        named = {
            row: key
            for row, (root, payload) in enumerate(roots)
            if not payload and (key := payload_multihash(root))
        }
        is_named = np.isin(np.arange(raw.num_rows), [*named])
        if not is_named.all():
            yield raw.filter(pa.array(~is_named))
        at = RAW.get_field_index("payload")
        for row, key in named.items():
            for blocks in self._fetch(pa.array([key], pa.binary())):
                payload = pa.array([blocks.get(key, b"")], pa.binary())
                yield raw.slice(row, 1).set_column(at, RAW.field(at), payload)

    def _fetch(self, multihashes: pa.Array) -> Iterator[dict[bytes, bytes]]:
        """The blocks among some that exist."""
        for some in self._bounded(multihashes, self._block_sizes):
            # what Arrow holds of them is freed before they are used
            yield self._fetched(some)

    def _fetched(self, multihashes: pa.Array) -> dict[bytes, bytes]:
        with self._measure("look-up", len(multihashes)):
            found = self._blocks.find(multihashes)
        return dict(zip(found["multihash"].to_pylist(), found["bytes"].to_pylist(), strict=True))

    def _bounded(self, keys: pa.Array, sizes: PreparedLookUp) -> Iterator[pa.Array]:
        """The keys, so many at a time as may be fetched; of more than a few those that exist."""
        if len(keys) <= FEW:
            yield from [keys] if len(keys) else []
            return
        with self._measure("look-up", len(keys)):
            found = sizes.find(keys)
        if found.num_rows:
            key = found["key"].combine_chunks()
            for some in cut(np.asarray(found["size"]), FETCHED_BYTES):
                yield key[some]

    def _all_listed(self, cids: pa.Array) -> pa.Array:
        with self._measure("look-up", len(cids)):
            return packed_by_event(self._lists.find(cids), cids)

    def close(self) -> None:
        """Close what was opened."""
        self.init_scan.close()
        self._blocks.close()
        self._block_sizes.close()
        self._lists.close()
        self._whole_events.close()
        self._event_sizes.close()
        if "_events" in self.__dict__:
            self._events.close()
