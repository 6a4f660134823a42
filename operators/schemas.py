"""What the steps agree on: schemas of batches, reasons, and how their time is measured."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import types

KINDS = ("init", "unsigned init", "data", "time")
"""The kinds of event by their code in a `kind` column (FORMAT.md, The four kinds of event)."""

INIT, UNSIGNED_INIT, DATA, TIME = range(len(KINDS))

RAW = pa.schema(
    [
        pa.field("rowid", pa.int64(), nullable=False),  # of the event table
        pa.field("cid", pa.binary(), nullable=False),  # the event's CID
        pa.field("root", pa.binary(), nullable=False),  # its root block; empty: not in the database
        pa.field(
            "payload", pa.binary(), nullable=False
        ),  # the block its envelope names; empty: no envelope, or not there
        # the key under which nodes exchange it
        pa.field("order_key", pa.binary(), nullable=False),
        # its rows of `ceramic_one_event_block`, or some of them, as
        # `operators.encoding.event_blocks` packs them
        pa.field("event_blocks", pa.binary(), nullable=False),
    ]
)
"""Events with the blocks that hold their links, as the source reads them."""

BLOCKS = pa.schema(
    [
        pa.field("multihash", pa.binary(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)
"""Blocks by themselves."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the source emits: events, and what was read with them that their check may need."""

    events: pa.RecordBatch
    """Schema RAW."""
    other_blocks: pa.Table = field(default_factory=BLOCKS.empty_table)
    """Schema BLOCKS: blocks that are stored among those of these events, such as proofs, witness
    nodes and capabilities, which several events share."""


LINKS = pa.schema(
    [
        pa.field("rowid", pa.int64(), nullable=False),
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("stream", pa.binary(), nullable=False),  # CID of the stream's init event
        pa.field("prev", pa.binary()),  # CID of the parent; null: an init event
        pa.field("kind", pa.int8(), nullable=False),  # index into KINDS
    ]
)
"""Events and the one parent each names."""

ORDERED = LINKS.append(pa.field("level", pa.int64(), nullable=False))
"""Events that can be delivered. In one stream a parent always has a smaller `level` than its
children; numbers by level, then rowid, therefore put parents first too."""

LEFT = pa.schema(
    [
        pa.field("rowid", pa.int64(), nullable=False),
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("stream", pa.binary()),  # null: unreadable
        pa.field("prev", pa.binary()),  # null: none or unreadable
        pa.field("reason", pa.string(), nullable=False),  # a `Reason`
        pa.field(
            "cause", pa.binary()
        ),  # CID of what is missing, rejected or circular above it; null: the event itself
    ]
)
"""Events that are not delivered, each with its reason."""


class Reason(StrEnum):
    """Why an event is not delivered."""

    # of the event itself: it is rejected
    ROOT_MISSING = "root block missing"
    PAYLOAD_MISSING = "payload block missing"
    NOT_DAG_CBOR = "not DAG-CBOR"
    NOT_AN_EVENT = "not a Ceramic event"
    PAYLOAD_NO_CID = "payload is no CID"
    NO_LINK = "id or prev is no link"
    OTHER_STREAM = "prev in another stream"
    # of what else a node needs
    ORDER_KEY = "order key is no event id"
    EVENT_BLOCKS_UNREADABLE = "event blocks unreadable"
    OTHER_ROOT = "another block is flagged as root"
    SERVED_AS_OTHER = "a node would serve it as another event"
    BLOCK_TOO_LARGE = "block larger than 4 MiB"
    NOT_LISTED = "a block is not listed for it"
    SIGNATURES_EMPTY = "no signature"
    CAPABILITY_MISSING = "capability block missing"
    CAPABILITY_UNREADABLE = "capability unreadable"
    PROOF_MISSING = "proof block missing"
    PROOF_UNREADABLE = "proof unreadable"
    WITNESS_MISSING = "witness node missing"
    WITNESS_UNREADABLE = "witness node unreadable"
    WITNESS_PATH = "path does not lead to prev"
    # of what it depends on: it waits
    PREV_MISSING = "prev missing"
    PREV_REJECTED = "prev rejected"
    CYCLE = "cycle"


WAITING = frozenset({Reason.PREV_MISSING, Reason.PREV_REJECTED, Reason.CYCLE})
"""The reasons of events that are readable and wait for another; all other reasons reject the
event itself."""


Batch = TypeVar("Batch", pa.RecordBatch, pa.Table)


def as_schema(batch: Batch, schema: pa.Schema) -> Batch:
    """The same rows in exactly this schema: columns are found by name, and cast if need be.

    Integers are cast to integers, and bytes and text of any Arrow type, dictionaries of them too,
    to bytes. Other columns are dropped. A batch of this schema is returned as it is.

    Raises:
        ValueError: a column is missing, of another kind, out of range, or has a null; it is named.
    """
    if not isinstance(batch, pa.RecordBatch | pa.Table):
        # one kind of error for all that is wrong with a batch
        got = type(batch).__name__
        raise ValueError(f"expected Arrow record batches, got `{got}`")  # noqa: TRY004
    if batch.schema.equals(schema):
        return batch
    columns = [_as_field(batch, field) for field in schema]
    return type(batch).from_arrays(columns, schema=schema)


def _as_field(batch: Any, field: pa.Field) -> Any:
    """The column of this name, with the type of this field."""
    named = batch.schema.get_all_field_indices(field.name)
    if len(named) != 1:
        how_often = "is missing" if not named else "is there more than once"
        names = ", ".join(f"`{name}`" for name in batch.schema.names)
        raise ValueError(f"the column `{field.name}` {how_often}: the batch has {names or 'none'}")
    column = batch.column(named[0])
    if column.type != field.type:
        column = _cast(column, field)
    if column.null_count and not field.nullable:
        raise ValueError(f"the column `{field.name}` has a null, and must not have one")
    return column


def _cast(column: Any, field: pa.Field) -> Any:
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not types.is_null(kind) and not any(
        is_of(kind) and is_of(field.type) for is_of in (types.is_integer, _is_bytes)
    ):
        raise ValueError(
            f"the column `{field.name}` is of type `{column.type}`, which can't be cast to "
            f"`{field.type}`"
        )
    try:
        if isinstance(column, pa.ChunkedArray):
            chunks = [_cast_array(chunk, field.type) for chunk in column.chunks]
            return pa.chunked_array(chunks, field.type)
        return _cast_array(column, field.type)
    except pa.ArrowException as cause:
        raise ValueError(
            f"the column `{field.name}` can't be cast from `{column.type}` to `{field.type}`: "
            f"{cause}"
        ) from cause


def _cast_array(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    # Arrow has no cast from views of text to bytes, and none from dictionaries of views
    if types.is_dictionary(column.type):
        return _cast_array(column.dictionary, wanted).take(column.indices)
    if types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column.cast(wanted)


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes, or texts, which are bytes too."""
    return any(
        is_of(kind)
        for is_of in (
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
            types.is_fixed_size_binary,
            types.is_string,
            types.is_large_string,
            types.is_string_view,
        )
    )


@dataclass
class Measured:
    """One call of a stage that is being measured."""

    rows: int
    """How many rows it deals with; it may be set until the call ends."""


Measure = Callable[[str, int], AbstractContextManager[Measured]]
"""Measures, while the block runs, a stage of this name that deals with so many rows. It is asked
for batches, never for one event."""


def unmeasured(
    stage: str,  # noqa: ARG001 # a Measure
    rows: int,
) -> AbstractContextManager[Measured]:
    """Measure nothing."""
    return nullcontext(Measured(rows))
