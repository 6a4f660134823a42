"""What a block can be in an event: the tables between the decoder and the SQL.

The SQL relies on the names, columns and types: it joins the reading that an event needs of a
block.
"""

from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa

_MULTIHASH = pa.field("multihash", pa.binary(), nullable=False)
READINGS = {
    "block_time": pa.schema(
        [
            _MULTIHASH,
            pa.field("stream", pa.binary(), nullable=False),  # link `id`
            pa.field("prev", pa.binary(), nullable=False),
            pa.field("proof", pa.binary(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            # whether the node would write the same bytes for these fields
            pa.field("is_encoded_alike", pa.bool_(), nullable=False),
        ]
    ),
    "block_envelope": pa.schema(
        [
            _MULTIHASH,
            pa.field("payload", pa.binary(), nullable=False),  # CID in the byte string `payload`
            pa.field("signatures", pa.int64(), nullable=False),  # how many
            # CID in the `cap` of the first signature's protected header; null: none
            pa.field("capability", pa.binary()),
        ]
    ),
    "block_data": pa.schema(
        [
            _MULTIHASH,
            pa.field("stream", pa.binary(), nullable=False),  # link `id`
            pa.field("prev", pa.binary(), nullable=False),
        ]
    ),
    "block_init": pa.schema([_MULTIHASH]),
    "block_proof": pa.schema([_MULTIHASH, pa.field("root", pa.binary(), nullable=False)]),
    "block_capability": pa.schema([_MULTIHASH]),
    "block_node": pa.schema(
        [
            _MULTIHASH,
            # of the items that are links: their places in the list, and their CIDs
            pa.field("places", pa.list_(pa.int64()), nullable=False),
            pa.field("links", pa.list_(pa.binary()), nullable=False),
        ]
    ),
    # nothing that an event can use
    "block_other": pa.schema([_MULTIHASH, pa.field("why", pa.string(), nullable=False)]),
}
"""The schema of each table, by name: a row for each reading of a block, with binary CIDs
(FORMAT.md, The four kinds of event)."""

Cell: TypeAlias = "bytes | str | int | list[int] | Sequence[bytes] | None"
Row = tuple[Cell, ...]
BlockReading = tuple[str, Row]
