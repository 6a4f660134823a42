"""Decode: from the blocks of a batch of events to their streams and parents, or to why not.

`operators.event` has the rule for one event. What a batch has in common is compared for all at
once, by `operators.encoding.layouts`; the rest is read one by one.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bytewax.operators as op
import numpy as np
import pyarrow as pa
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators.check.aside import with_needs
from operators.check.batch import NodeCheck
from operators.check.later import LaterCheck
from operators.check.shared_blocks import LARGEST_BLOCK
from operators.encoding.columns import Rows
from operators.encoding.layouts import (
    DATA_LAYOUT,
    DATA_WITH_HEADER,
    TIME_LAYOUT,
    Places,
    joined_places,
    plain_envelopes,
    read_alike,
)
from operators.event import read_event
from operators.schemas import (
    BLOCKS,
    LEFT,
    LINKS,
    RAW,
    Measure,
    Page,
    Reason,
    as_schema,
    unmeasured,
)

_UNREADABLE = -1
"""Stands for the kind of an event that could not be read."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded batch.

    `links` (schema LINKS) holds the readable events, `rejected` (schema LEFT) the others; both in
    the order of the input.
    """

    links: pa.RecordBatch
    rejected: pa.RecordBatch
    aside: pa.RecordBatch | None = None
    """Events of schema ASIDE, for which it is too early to say whether a node could serve them."""


@dataclass(frozen=True)
class DecodeOut:
    """The two outputs of `decode`."""

    links: Stream[pa.RecordBatch]
    rejected: Stream[pa.RecordBatch]


def decode_events(
    raw: pa.RecordBatch,
    check: NodeCheck | None = None,
    measure: Measure = unmeasured,
    other_blocks: pa.Table | None = None,
) -> Decoded:
    """Decode a batch of schema RAW; every row comes out once, as links or as rejected.

    With `check`, an event that a node could not serve is rejected too; `other_blocks` are
    those that were read with the events, as in a `Page`.
    """
    with _no_cyclic_garbage_collection():
        plain = plain_envelopes(raw["root"])
        times = joined_places(read_alike(raw["root"], ~plain, TIME_LAYOUT))
        groups = [
            *read_alike(raw["payload"], plain, DATA_LAYOUT),
            *read_alike(raw["payload"], plain, DATA_WITH_HEADER),
            times,
        ]
        alone, reasons = _read_alone(raw, groups)
        links, rows = _in_input_order(raw, joined_places([*groups, alone]))
        aside = None
        reasons |= {row: Reason.BLOCK_TOO_LARGE for row in reasons if _is_too_large(raw, row)}
        if check is not None:
            kind = np.full(raw.num_rows, _UNREADABLE, dtype=np.int8)
            kind[rows] = links["kind"]
            with measure("check", links.num_rows):
                others = BLOCKS.empty_table() if other_blocks is None else other_blocks
                checked = check.check(raw, others, kind, plain, times)
            reasons |= checked.failures
            if len(checked.aside):
                is_aside = np.isin(rows, checked.aside)
                aside = with_needs(
                    links.filter(pa.array(is_aside)),
                    np.searchsorted(rows[is_aside], checked.aside),
                    checked.needs,
                )
            unpassed = [*checked.failures, *np.unique(checked.aside).tolist()]
            links = links.filter(pa.array(~np.isin(rows, unpassed))) if unpassed else links
    return Decoded(links, _rejects(raw, sorted(reasons.items())), aside)


def _is_too_large(raw: pa.RecordBatch, row: int) -> bool:
    """Whether a block of an event's own is too large for a node; its source need not read it."""
    return any(len(raw[name][row].as_buffer()) > LARGEST_BLOCK for name in ("root", "payload"))


def _read_alone(raw: pa.RecordBatch, groups: list[Places]) -> tuple[Places, dict[int, Reason]]:
    """The readable events of a batch that are in none of the groups; why others are not, by row."""
    unread = np.ones(raw.num_rows, dtype=np.bool_)
    for group in groups:
        unread[group.rows] = False
    reasons: dict[int, Reason] = {}
    rows, streams, prevs, kinds = [], [], [], []
    for row in np.flatnonzero(unread).tolist():
        event = read_event(raw["root"][row].as_py(), raw["payload"][row].as_py())
        if isinstance(event, Reason):
            reasons[row] = event
            continue
        rows.append(row)
        streams.append(event.stream or raw["cid"][row].as_py())
        prevs.append(event.prev)
        kinds.append(event.kind)
    at, stream, prev = (
        np.array(rows, dtype=np.int64),
        pa.array(streams, pa.binary()),
        pa.array(prevs, pa.binary()),
    )
    return Places(
        at, stream, prev, np.array(kinds, dtype=np.int8), pa.nulls(len(rows), pa.binary())
    ), reasons


def _in_input_order(raw: pa.RecordBatch, places: Places) -> tuple[pa.RecordBatch, Rows]:
    """The events at these places with schema LINKS, and their rows, which rise."""
    position = np.full(raw.num_rows, -1)
    position[places.rows] = np.arange(len(places.rows))
    rows = np.flatnonzero(position >= 0)
    position = position[rows]
    own = (
        raw.select(["rowid", "cid"])
        if len(rows) == raw.num_rows
        else raw.select(["rowid", "cid"]).take(pa.array(rows))
    )
    stream, prev = (column.take(pa.array(position)) for column in (places.stream, places.prev))
    kind = pa.array(places.kind[position])
    return pa.record_batch([*own.columns, stream, prev, kind], schema=LINKS), rows


class _AsideLogic(StatefulBatchLogic[pa.RecordBatch, Decoded, tuple[pa.RecordBatch, ...]]):
    """Events of schema ASIDE, until their check can be made for many of them together."""

    def __init__(
        self, check: LaterCheck, measure: Measure, held: tuple[pa.RecordBatch, ...] | None
    ) -> None:
        self._check, self._measure, self._events = check, measure, check.new_aside()
        for batch in held or ():
            self._events.put(batch)

    def on_batch(self, values: list[pa.RecordBatch]) -> tuple[list[Decoded], bool]:
        with self._measure("check", 0):
            for batch in values:
                self._events.put(batch)
        is_due = self._check.should_settle(self._events)
        return self._settle() if is_due else [], self.RETAIN

    def on_eof(self) -> tuple[list[Decoded], bool]:
        return self._settle(), self.RETAIN

    def snapshot(self) -> tuple[pa.RecordBatch, ...]:
        # events in files came from a database, and a run on it starts anew
        return self._events.held

    def _settle(self) -> list[Decoded]:
        with self._measure("check", self._events.events):
            return [
                Decoded(
                    links.filter(pa.array([reason is None for reason in reasons])),
                    _rejects(
                        links, [(row, reason) for row, reason in enumerate(reasons) if reason]
                    ),
                )
                for links, reasons in self._check.settle(self._events)
            ]


def _rejects(raw: pa.RecordBatch, reasons: list[tuple[int, Reason]]) -> pa.RecordBatch:
    at = pa.array([row for row, _ in reasons], pa.int64())
    unknown = pa.nulls(len(reasons), pa.binary())
    reason = pa.array([str(reason) for _, reason in reasons], pa.string())
    return pa.record_batch(
        [raw["rowid"].take(at), raw["cid"].take(at), unknown, unknown, reason, unknown], schema=LEFT
    )


@operator
def decode(
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[Page],
    *,
    check: NodeCheck | None = None,
    measure: Measure = unmeasured,
) -> DecodeOut:
    """Decode pages of events into readable events and rejected ones.

    With `check`, an event that a node could not serve is rejected too; pages then need the event
    blocks. Events that can't be checked yet come later, at the end of input at the latest.

    Pages are cast to their schemas; a ValueError names a column for which that can't be.

    Returns two streams of batches, without empty ones: `links` of schema LINKS and `rejected` of
    schema LEFT.
    """

    def decode_page(page: Page) -> Decoded:
        with measure("decode", page.events.num_rows):
            events = as_schema(page.events, RAW)
            other_blocks = as_schema(page.other_blocks, BLOCKS)
            return decode_events(events, check, measure, other_blocks)

    decoded = op.map("events", up, decode_page)
    if check is not None and (later := check.later) is not None:
        aside = op.filter_map("aside", decoded, lambda batch: batch.aside)
        settled = op.stateful_batch(
            "settle",
            op.key_on("one_aside", aside, lambda _: "aside"),
            lambda held: _AsideLogic(later, measure, held),
        )
        decoded = op.merge("checked", decoded, op.key_rm("unkey", settled))
    links = op.filter("some_links", op.map("links", decoded, lambda batch: batch.links), has_rows)
    rejected = op.filter(
        "some_rejected", op.map("rejected", decoded, lambda batch: batch.rejected), has_rows
    )
    return DecodeOut(links, rejected)


def has_rows(batch: pa.RecordBatch) -> bool:
    """Whether a batch holds any event."""
    return bool(batch.num_rows)


@contextmanager
def _no_cyclic_garbage_collection() -> Iterator[None]:
    """Decoded blocks hold no cycles, but looking for cycles took a fifth of the time of a run."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
