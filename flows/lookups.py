"""What the steps ask the database beside the flow: parents that do not come through it, and blocks that events share."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.database import read_schema
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.event_blocks import LISTED, joined
from connectors.lookup import BLOCK, EVENT_WITH_BLOCKS, LookUp, known_event, looking_up
from connectors.sqlite import connect, query, scalar
from operators.check.batch import NodeCheck
from operators.decode import decode_events
from operators.encoding.envelope import payload_multihash
from operators.order import KNOWN
from operators.remembered import Remembered
from operators.schemas import LINKS, RAW, Measure, unmeasured

MOST_INITS = 300_000
"""The largest number up to which delivered init events are kept in memory, about 30 MB."""

ARE_INITS = """
    SELECT init_cid = cid AS is_init FROM ceramic_one_event WHERE delivered IS NOT NULL ORDER BY delivered LIMIT 1000
"""
UNDELIVERED = "SELECT 1 FROM ceramic_one_event WHERE delivered IS NULL LIMIT 1"
DELIVERED_INITS = "SELECT cid FROM ceramic_one_event WHERE delivered IS NOT NULL AND init_cid = cid"

_UNNOTED = pa.scalar(b"", pa.binary())
_NOTHING = pa.RecordBatch.from_pylist([], schema=KNOWN)


class LookUps:
    """The look-ups of one flow in one database."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], Any] = connect,
        *,
        check_node: bool = True,
        measure: Measure = unmeasured,
    ) -> None:
        self._path = path
        self._measure = measure
        self._connect = connect
        self._blocks = LookUp(path, BLOCK, connect)
        self._whole_events = LookUp(path, EVENT_WITH_BLOCKS, connect)
        self._lists = LookUp(path, LISTED, connect)
        self.check = NodeCheck(self._fetch, self._all_listed) if check_node else None
        """For `operators.decode.decode`; None leaves out what a node would check."""
        # begun at once: the flow has nothing to do yet, until the first page has been read
        beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inits")
        self._delivered_inits: Future[Remembered] = beside.submit(self._read_delivered_inits)
        beside.shutdown(wait=False)

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
            parts = {**cause.parts(), "unchanged": None}
            raise InterruptedRunError(**parts) from cause

    def parents(self, cids: pa.Array) -> pa.RecordBatch:
        """The events among `cids` that exist, with schema KNOWN; an `operators.order.LookUp`.

        An event's stream is what the node noted in `init_cid`; where it noted none (rows older than
        v0.36) its blocks are decoded.
        """
        with self._measure("look-up", len(cids)):
            return self._known(cids)

    def _known(self, cids: pa.Array) -> pa.RecordBatch:
        inits = self._delivered_inits.result()
        if not len(inits):
            return self._find(cids)
        begins = inits.holds(cids, cids)
        first = cids.filter(pa.array(begins))
        known = pa.record_batch(
            [first, first, pa.repeat(pa.scalar(value=True), len(first))], schema=KNOWN
        )
        return pa.concat_batches([known, self._find(cids.filter(pa.array(~begins)))])

    def _read_delivered_inits(self) -> Remembered:
        """The delivered init events, if they are most of what is delivered, as after a migration, and not too many.

        Most look-ups are then of them, and reading them one after the other takes a sixth of the
        time of looking each of them up.
        """
        inits = Remembered()
        if not self._has_init_cid:
            return inits
        with looking_up(self._path), closing(self._connect(self._path)) as connection:
            if scalar(connection, UNDELIVERED) is None:
                return inits
            sample = query(connection, ARE_INITS)["is_init"].to_pylist()
            highest = scalar(connection, "SELECT max(delivered) FROM ceramic_one_event")
            if (
                not isinstance(highest, int)
                or highest > MOST_INITS
                or sum(map(bool, sample)) * 2 < len(sample)
            ):
                return inits
            cid = query(connection, DELIVERED_INITS)["cid"].combine_chunks()
        inits.add(cid, cid.dictionary_encode())
        return inits

    def _find(self, cids: pa.Array) -> pa.RecordBatch:
        found = self._events.find(cids) if len(cids) else _NOTHING
        if not found.num_rows:
            return _NOTHING
        noted = pc.not_equal(found["stream"], _UNNOTED)
        stream = pc.if_else(noted, found["stream"], pa.scalar(None, pa.binary()))
        if not pc.all(noted).as_py():
            raw = self._followed(
                self._whole_events.find(found["cid"].filter(pc.invert(noted)).combine_chunks())
                .cast(RAW)
                .combine_chunks()
            )
            links = pa.Table.from_batches(
                [decode_events(batch).links for batch in raw.to_batches()], schema=LINKS
            ).combine_chunks()
            read = links["stream"].take(pc.index_in(found["cid"], value_set=links["cid"]))
            stream = pc.if_else(noted, stream, read)
        known = [found["cid"], stream, found["delivered"].cast(pa.bool_())]
        return pa.table(known, schema=KNOWN).combine_chunks().to_batches()[0]

    def _followed(self, raw: pa.Table) -> pa.Table:
        """The same events of schema RAW, with the payloads of envelopes of a form that the statement does not know."""
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
            return joined(self._lists.find(cids), cids)

    def close(self) -> None:
        """Close what was opened."""
        wait([self._delivered_inits])
        self._blocks.close()
        self._lists.close()
        self._whole_events.close()
        if "_events" in self.__dict__:
            self._events.close()
