"""Synthetic events as Arrow rows: packed one row an event, sorted by CID on disk, unpacked into the rows of three tables."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.synth.events import DAG_JOSE, Event

EVENT = pa.schema(
    [
        pa.field("order_key", pa.binary(), nullable=False),
        *(
            pa.field(f"ahash_{word}", pa.int64(), nullable=False) for word in range(8)
        ),  # SHA-256 of the order_key, 32 bits each
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("delivered", pa.int64()),  # null: not delivered
        pa.field("init_cid", pa.binary(), nullable=False),
        pa.field("is_time_event", pa.bool_(), nullable=False),
    ]
)
"""Rows of `ceramic_one_event`, without what is the same in all of them."""

EVENT_BLOCK = pa.schema(
    [
        pa.field("event_cid", pa.binary(), nullable=False),
        pa.field("block_multihash", pa.binary(), nullable=False),
        pa.field("codec", pa.int64(), nullable=False),
        pa.field("idx", pa.int64(), nullable=False),
        pa.field("root", pa.bool_(), nullable=False),
    ]
)
"""Rows of `ceramic_one_event_block`."""

BLOCK = pa.schema(
    [
        pa.field("multihash", pa.binary(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)
"""Rows of `ceramic_one_block`."""

_LISTED = pa.struct(
    [
        pa.field("multihash", pa.binary(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("codec", pa.int64(), nullable=False),
        pa.field("root", pa.bool_(), nullable=False),
    ]
)
PACKED = EVENT.append(pa.field("blocks", pa.list_(_LISTED), nullable=False))
"""One row an event, with all its blocks in their order."""

BUCKET_EVENTS = 32_768
"""Events of a bucket: sorting one takes about 100 MB."""
MAX_BUCKETS = 256
"""Open files while the buckets are filled, for each of the two codecs."""


class Rows(NamedTuple):
    """The rows of the three tables for a batch of events, in the order of the events."""

    blocks: pa.RecordBatch
    """`BLOCK`; what several of these events share comes once."""
    events: pa.RecordBatch
    """`EVENT`."""
    event_blocks: pa.RecordBatch
    """`EVENT_BLOCK`."""


def pack(events: Sequence[Event], delivered: Sequence[int | None]) -> pa.RecordBatch:
    """The events and their numbers as one batch (`PACKED`)."""
    order_keys = [event.order_key for event in events]
    digests = b"".join(sha256(order_key).digest() for order_key in order_keys)
    blocks = [block for event in events for block in event.blocks]
    multihashes, contents, codecs, roots = zip(*blocks, strict=True) if blocks else ((), (), (), ())
    listed = [multihashes, contents, codecs, roots]
    fields = [_LISTED.field(index) for index in range(_LISTED.num_fields)]
    structs = pa.StructArray.from_arrays(
        [pa.array(column, field.type) for column, field in zip(listed, fields, strict=True)],
        fields=fields,
    )
    offsets = pa.array(accumulate((len(event.blocks) for event in events), initial=0), pa.int32())
    columns: list[Any] = [
        order_keys,
        *np.frombuffer(digests, "<u4").reshape(-1, 8).T.astype("int64"),
        [event.cid for event in events],
        delivered,
        [event.stream.cid for event in events],
        [event.kind == "time" for event in events],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, EVENT, strict=True)]
    lists = pa.ListArray.from_arrays(offsets, structs, type=PACKED.field("blocks").type)
    return pa.RecordBatch.from_arrays([*arrays, lists], schema=PACKED)


def unpack(packed: pa.RecordBatch) -> Rows:
    """The rows of the three tables."""
    lists = packed["blocks"]
    multihash, content, codec, root = lists.flatten().flatten()
    counts = lists.value_lengths().to_numpy()
    firsts = np.cumsum(counts) - counts
    event_blocks = [
        packed["cid"].take(pc.list_parent_indices(lists)),
        multihash,
        codec,
        pa.array(np.arange(counts.sum()) - np.repeat(firsts, counts), pa.int64()),
        root,
    ]
    once = pc.index_in(multihash.unique(), multihash)
    return Rows(
        pa.RecordBatch.from_arrays([multihash.take(once), content.take(once)], schema=BLOCK),
        packed.select(EVENT.names),
        pa.RecordBatch.from_arrays(event_blocks, schema=EVENT_BLOCK),
    )


def in_cid_order(
    batches: Iterable[pa.RecordBatch], folder: Path, count: int
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of `batches` (`PACKED`, about `count` rows) sorted by CID, by way of files in `folder`.

    The CIDs of one codec differ in their digest alone, whose first byte is evenly spread, so it
    tells the bucket.
    """
    buckets = min(MAX_BUCKETS, 1 + count // BUCKET_EVENTS)
    writers: dict[int, pa.RecordBatchWriter] = {}
    paths = {bucket: folder / f"bucket-{bucket}" for bucket in range(2 * buckets)}
    for batch in batches:
        chosen = np.array([_bucket(cid, buckets) for cid in batch["cid"].to_pylist()])
        for bucket in np.unique(chosen).tolist():
            if bucket not in writers:
                writers[bucket] = pa.ipc.new_stream(str(paths[bucket]), PACKED)
            writers[bucket].write_batch(batch.filter(pa.array(chosen == bucket)))
    for writer in writers.values():
        writer.close()
    for bucket in sorted(writers):
        with pa.ipc.open_stream(str(paths[bucket])) as reader:
            rows = reader.read_all().combine_chunks()
        paths[bucket].unlink()
        yield from rows.sort_by("cid").combine_chunks().to_batches()


def _bucket(cid: bytes, buckets: int) -> int:
    is_jose = cid[1] == DAG_JOSE
    return is_jose * buckets + cid[-32] * buckets // 256
