"""What the order step asks the database of parents that do not come through the flow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.database import connect
from connectors.parents import EventLookUp
from operators.decode import decode_events
from operators.order import KNOWN
from operators.schemas import LINKS, RAW


class ParentLookUp:
    """Looks events up in a database; a `operators.order.LookUp`.

    An event's stream is what the node noted in `init_cid`; where it noted none (rows older than v0.36) its blocks are decoded.
    """

    def __init__(self, path: Path, connect: Callable[[Path], Any] = connect) -> None:
        self._events = EventLookUp(path, connect)
        self.close = self._events.close

    def __call__(self, cids: pa.Array) -> pa.RecordBatch:
        """The events among `cids` that exist, with schema KNOWN."""
        found = self._events.find(cids)
        if not found.num_rows:
            return _NOTHING
        noted = pc.not_equal(pc.binary_length(found["stream"]), 0)
        raw = found.filter(pc.invert(noted)).select(RAW.names).cast(RAW).combine_chunks()
        decoded = [decode_events(batch).links.select(_STREAMS.names) for batch in raw.to_batches()]
        streams = pa.Table.from_batches(decoded, schema=_STREAMS).combine_chunks()
        read = streams["stream"].take(pc.index_in(found["cid"], value_set=streams["cid"]))
        known = [found["cid"], pc.if_else(noted, found["stream"], read), found["delivered"].cast(pa.bool_())]
        return pa.table(known, schema=KNOWN).combine_chunks().to_batches()[0]


_STREAMS = pa.schema([LINKS.field("cid"), LINKS.field("stream")])
_NOTHING = pa.RecordBatch.from_pylist([], schema=KNOWN)
