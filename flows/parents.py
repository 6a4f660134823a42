"""What the order step asks the database of parents that do not come through the flow."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from connectors.parents import EventLookUp
from operators.decode import decode_events
from operators.order import KNOWN, LookUp
from operators.schemas import RAW


def look_up_in(path: Path) -> LookUp:
    """Look events up in the database at `path`.

    An event's stream is what the node noted in `init_cid`; where it noted none (rows older than v0.36) its blocks are decoded.
    """
    events = EventLookUp(path)

    def look_up(cids: pa.Array) -> pa.RecordBatch:
        found = events.find(cids)
        noted = pc.not_equal(pc.binary_length(found["stream"]), 0)
        raw = found.filter(pc.invert(noted)).select(RAW.names).cast(RAW).combine_chunks()
        decoded = [decode_events(batch).links for batch in raw.to_batches()]
        streams = pa.Table.from_batches([batch.select(["cid", "stream"]) for batch in decoded], schema=_STREAMS)
        read = streams["stream"].take(pc.index_in(found["cid"], value_set=streams["cid"].combine_chunks()))
        stream = pc.if_else(noted, found["stream"].cast(pa.binary()), read)
        delivered = found["delivered"].cast(pa.bool_())
        return pa.table([found["cid"].cast(pa.binary()), stream, delivered], schema=KNOWN).combine_chunks()

    return look_up


_STREAMS = pa.schema([("cid", pa.binary()), ("stream", pa.binary())])
