"""Synthetic events as Arrow rows: packed one row an event, sorted, unpacked into three tables."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.paths import plain_folder
from flows.synth.events import Event
from operators.schemas import BLOCKS

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

SORT_MEMORY = "1GB"
"""Memory of DuckDB while it sorts; what does not fit goes to files."""


class TableRows(NamedTuple):
    """The rows of the three tables for a batch of events, in the order of the events."""

    blocks: pa.RecordBatch
    """`BLOCKS`; what several of these events share comes once."""
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
    columns: list[object] = [
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


def unpack(packed: pa.RecordBatch) -> TableRows:
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
    return TableRows(
        pa.RecordBatch.from_arrays([multihash.take(once), content.take(once)], schema=BLOCKS),
        packed.select(EVENT.names),
        pa.RecordBatch.from_arrays(event_blocks, schema=EVENT_BLOCK),
    )


def in_cid_order(
    batches: Iterable[pa.RecordBatch], folder: Path, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """All rows of `batches` (`PACKED`) sorted by CID; what does not fit in memory goes to `folder`.

    Raises:
        OSError: there is no room for these files.
    """
    try:
        with plain_folder(folder) as plain:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": SORT_MEMORY,
                "temp_directory": plain,
            }
            with duckdb.connect(f"{plain}/events", config=config) as tables:
                tables.register("incoming", PACKED.empty_table())
                tables.execute("CREATE TABLE packed AS FROM incoming").fetchall()
                for batch in batches:
                    tables.register("incoming", batch)
                    tables.execute("INSERT INTO packed FROM incoming").fetchall()
                yield from tables.sql("FROM packed ORDER BY cid").to_arrow_reader(batch_rows)
    except duckdb.Error as cause:
        raise OSError(str(cause).splitlines()[0]) from cause
