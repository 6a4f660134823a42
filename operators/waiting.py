"""The table of events that wait in a shard, and what is known of their prevs."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import Rows
from operators.schemas import LEFT, LINKS, Reason, as_schema
from operators.settle import NONE, Settled

WAITING_EVENTS = pa.schema(
    [
        pa.field("rowid", pa.int64(), nullable=False),
        pa.field("cid", pa.binary(), nullable=False),
        # a third of the memory of plain CIDs
        pa.field("stream", pa.dictionary(pa.int32(), pa.binary()), nullable=False),
        pa.field("prev", pa.binary()),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("answer", pa.int8(), nullable=False),  # what is known of prev: UNASKED, ...
    ]
)
"""Waiting events in memory: about 100 bytes each."""

SPILLED_EVENTS = WAITING_EVENTS.set(
    WAITING_EVENTS.get_field_index("stream"), pa.field("stream", pa.binary(), nullable=False)
)
"""The same in a file, where all batches would have to share one dictionary."""

EXPLAINED_ROWS = 65_536
"""Events that are explained at a time: each takes 250 bytes meanwhile, more than it takes to wait.
"""

NO_EVENTS = pa.RecordBatch.from_pylist([], schema=WAITING_EVENTS)

UNASKED, POSTPONED, MISSING, UNDELIVERED, ELSEWHERE, DELIVERED, EMITTED = range(7)
"""What is known of an event's prev. EMITTED is said of the event itself: it has been let out, and
stands in the table only as the parent of others."""

KNOWN = pa.schema(
    [
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("stream", pa.binary()),  # null: unreadable
        pa.field("delivered", pa.bool_()),  # null: not known yet, ask again
    ]
)
"""What is known of events outside the flow."""


class LookUp(Protocol):
    """Knows of events outside the flow."""

    def __call__(self, cids: pa.Array, /, *, by_blocks: bool = False) -> pa.RecordBatch:
        """Those of some distinct CIDs that exist, in any order, with schema KNOWN.

        Of an event about which it can't be said yet, `delivered` may be null until all input has
        been read: then the same CID is asked for again.

        `by_blocks`: their streams are those in their blocks, where these can be read; without it,
        those that the node noted are enough.
        """


_STREAM, _ANSWER = map(WAITING_EVENTS.get_field_index, ("stream", "answer"))


def gathered(held: pa.RecordBatch, new: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The held events, of schema WAITING_EVENTS, and new ones of schema LINKS, as one batch."""
    if not new:
        return held
    # streams are encoded once for all batches: to join dictionaries takes time for each batch
    joined = encoded(with_answers(pa.concat_batches(new), UNASKED))
    # what the caller has given away is freed before more is needed
    del new
    return pa.concat_batches([held, joined]) if held.num_rows else joined


def with_answers(events: pa.RecordBatch, answer: int) -> pa.RecordBatch:
    """Events of schema LINKS as schema SPILLED_EVENTS, each with this answer."""
    answers = pa.array(np.full(events.num_rows, answer, dtype=np.int8))
    return pa.record_batch([*events.columns, answers], schema=SPILLED_EVENTS)


def emitted(cid: pa.Array, stream: pa.Array) -> pa.RecordBatch:
    """Events that have been let out, as parents of others; of schema SPILLED_EVENTS."""
    rows = len(cid)
    zeros = pa.array(np.zeros(rows, dtype=np.int64))
    kind, answers = (pa.array(np.full(rows, value, dtype=np.int8)) for value in (0, EMITTED))
    columns = [zeros, cid, stream, pa.nulls(rows, pa.binary()), kind, answers]
    return pa.record_batch(columns, schema=SPILLED_EVENTS)


def encoded(events: pa.RecordBatch) -> pa.RecordBatch:
    """Events of schema SPILLED_EVENTS as schema WAITING_EVENTS."""
    stream = events["stream"].dictionary_encode()
    return events.set_column(_STREAM, WAITING_EVENTS.field(_STREAM), stream)


def decoded(events: pa.RecordBatch) -> pa.RecordBatch:
    """Events of schema WAITING_EVENTS as schema SPILLED_EVENTS."""
    stream = events["stream"].dictionary_decode()
    return events.set_column(_STREAM, SPILLED_EVENTS.field(_STREAM), stream)


def links_of(events: pa.RecordBatch) -> pa.RecordBatch:
    """Events of schema WAITING_EVENTS as schema LINKS."""
    return pa.record_batch(decoded(events).columns[: len(LINKS)], schema=LINKS)


def answered(events: pa.RecordBatch, answer: NDArray[np.int8]) -> pa.RecordBatch:
    """The same events with these answers."""
    return events.set_column(_ANSWER, WAITING_EVENTS.field(_ANSWER), pa.array(answer))


def without_passing_answers(events: pa.RecordBatch) -> pa.RecordBatch:
    """The same events without answers that may be wrong by now: a parent may have come since."""
    answer = np.asarray(events["answer"])
    kept = np.isin(answer, (ELSEWHERE, DELIVERED, EMITTED))
    return answered(events, np.where(kept, answer, UNASKED).astype(np.int8))


def shrunk(events: pa.RecordBatch) -> pa.RecordBatch:
    """The same events, without the streams that are no longer among them, if these are many."""
    few = len(events["stream"].dictionary) <= events.num_rows
    return events if few else encoded(decoded(events))


def look_up_prevs(look_up: LookUp, roots: pa.RecordBatch) -> NDArray[np.int8]:
    """What is known outside the flow of the prevs of events of schema LINKS."""
    if not roots.num_rows:
        return np.zeros(0, dtype=np.int8)
    answers = _answers(as_schema(look_up(pc.unique(roots["prev"])), KNOWN), roots)
    # what a node noted may be wrong, and must not stop an event whose blocks say otherwise
    elsewhere = np.flatnonzero(answers == ELSEWHERE)
    if len(elsewhere):
        some = roots.take(pa.array(elsewhere))
        answers[elsewhere] = _answers(
            as_schema(look_up(pc.unique(some["prev"]), by_blocks=True), KNOWN), some
        )
    return answers


def _answers(found: pa.RecordBatch, roots: pa.RecordBatch) -> NDArray[np.int8]:
    """What is said of the prevs of events by what was found of them, of schema KNOWN."""
    row = pc.index_in(roots["prev"], value_set=found["cid"])
    exists, delivered = row.is_valid(), found["delivered"].take(row)
    stream = found["stream"].take(row)
    elsewhere = pc.and_(exists, pc.not_equal(stream, roots["stream"])).fill_null(False)
    unreadable = pc.and_(exists, stream.is_null())
    undelivered = pc.or_(unreadable, pc.invert(delivered).fill_null(False))
    not_yet = pc.and_(exists, delivered.is_null())
    states = (MISSING, UNASKED, ELSEWHERE, UNDELIVERED, DELIVERED)
    return np.array(
        pc.case_when(
            pc.make_struct(pc.invert(exists), not_yet, elsewhere, undelivered),
            *(pa.scalar(state, pa.int8()) for state in states),
        )
    )


def explained(events: pa.RecordBatch, settled: Settled) -> Iterator[pa.RecordBatch]:
    """Why each stuck event waits or is rejected, with schema LEFT, some events at a time."""
    for start in range(0, len(settled.stuck), EXPLAINED_ROWS):
        yield _explained(events, settled.stuck[start : start + EXPLAINED_ROWS], settled.topmost)


def _explained(events: pa.RecordBatch, stuck: Rows, topmost: Rows) -> pa.RecordBatch:
    """Why these stuck events wait or are rejected: by the topmost ancestor of each."""
    top = topmost[stuck]
    answer = np.asarray(events["answer"])[top]
    itself = top == stuck
    circular = top == NONE
    missing = ~circular & np.isin(answer, (UNASKED, POSTPONED, MISSING))
    elsewhere = ~circular & (answer == ELSEWHERE)
    reason = np.select(
        [circular, missing, elsewhere & itself],
        [Reason.CYCLE, Reason.PREV_MISSING, Reason.OTHER_STREAM],
        Reason.PREV_REJECTED,
    )
    cause_is_top = elsewhere & ~itself
    cause_is_prev = ~circular & ~elsewhere
    ancestors = pa.array(np.where(circular, 0, top))
    cause = pc.if_else(
        pa.array(cause_is_top),
        events["cid"].take(ancestors),
        pc.if_else(
            pa.array(cause_is_prev),
            events["prev"].take(ancestors),
            pa.scalar(None, pa.binary()),
        ),
    )
    links = links_of(events.take(pa.array(stuck)))
    reasons = pa.array(reason.tolist(), pa.string())
    columns = [*(links[name] for name in ("rowid", "cid", "stream", "prev")), reasons, cause]
    return pa.record_batch(columns, schema=LEFT)
