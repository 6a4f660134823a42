"""What the steps agree on: schemas of batches, reasons, and how their time is measured."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

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
"""Events with the blocks that tell their links, as the source reads them."""

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
    beside: pa.Table = field(default_factory=BLOCKS.empty_table)
    """Schema BLOCKS: what is stored among the blocks of these events and is not one of them, such
    as proofs, witness nodes and capabilities."""


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
children; a number by level, then rowid, therefore puts parents first, too."""

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
    # of what a node needs beside it
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


@dataclass
class Measured:
    """One call of a stage that is being measured."""

    rows: int
    """What it deals with; set before the call ends where it is not known when it starts."""


Measure = Callable[[str, int], AbstractContextManager[Measured]]
"""Measures, while the block runs, a stage of this name that deals with so many rows. It is asked
for batches, never for one event."""


def unmeasured(
    stage: str,  # noqa: ARG001 # a Measure
    rows: int,
) -> AbstractContextManager[Measured]:
    """Measure nothing."""
    return nullcontext(Measured(rows))
