"""Why: what decides whether one event can be delivered, and the chain of prevs up to there.

Each event of the chain is checked by the rules of the flow (`operators.decode`), so this says of an
event what a run says of it, without reading the rest of the database.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from connectors.database import locate
from connectors.errors import NOTHING_CHANGED, CannotStartError, InterruptedRunError
from connectors.run_state import RunState
from connectors.snapshot import Reader
from connectors.sqlite import sqlite_errors
from flows.jobs.event_names import FORMS, parse_event
from flows.jobs.prev_chain import EventReader, StoredEvent
from flows.jobs.runner import finish_by, nothing_changed
from flows.jobs.why_result import Step, Why
from flows.lookups import LookUps
from flows.terminal.signals import stopped_by_signals
from operators.check.batch import NodeCheck
from operators.decode import decode_events
from operators.encoding.cid import cid_text, multihash
from operators.schemas import RAW, Reason

PAGE_EVENTS = 1000
"""Events of a chain that are checked in one batch: that takes a tenth of the time of one by one."""

PAGE_BYTES = 2**20
"""Bytes of the root and payload blocks of such a batch: the event with which there are so many is
its last."""


def why(database: Path, text: str, *, check_node: bool = True) -> Why:
    """Find out what decides whether the event that `text` names can be delivered.

    `text` is in one of the forms of `flows.jobs.event_names`. With `check_node` it is checked as
    `run --check node` does, else as `run --check links`.

    Raises:
        CannotStartError: the database can't be read, `text` names no event, or the database holds
            none of this name.
        InterruptedRunError: reading failed midway.
    """
    try:
        cid = parse_event(text)
    except ValueError as cause:
        raise CannotStartError(f"`{text}` names no event", why=f"{cause}", advice=FORMS) from cause
    path = locate(database)
    reader = Reader(path)
    with (
        _saying_so_if_nothing_changed(),
        stopped_by_signals(finish_by(RunState(), reader.release, nothing_changed)),
        reader,
        closing(EventReader(path, reader)) as events,
        closing(LookUps(path, reader, check_node=check_node)) as look_ups,
        sqlite_errors(f"Reading `{path}` failed", unchanged="Nothing was changed."),
    ):
        found = _find_cause(path, cid, events, look_ups.check)
        is_init = found.verdict == "delivered" and found.chain[0].prev is None
        undelivered, first = events.undelivered_of(cid) if is_init else (0, [])
        if not undelivered:
            return found
        for other in first:
            stuck = _find_cause(path, other, events, look_ups.check)
            if stuck.verdict != "deliverable":
                break
        return replace(found, undelivered=undelivered, stuck=stuck)


@contextmanager
def _saying_so_if_nothing_changed() -> Iterator[None]:
    """Complete the errors of look-ups, which a run completes with what it keeps."""
    try:
        yield
    except InterruptedRunError as error:
        if error.unchanged is None:
            raise error.replaced(unchanged=NOTHING_CHANGED) from error
        raise


def _find_cause(path: Path, cid: bytes, events: EventReader, check: NodeCheck | None) -> Why:
    steps: list[Step] = []
    below: StoredEvent | None = None
    for event, reason in _checked(events.climb(cid), check):
        steps.append(Step.of(event))
        itself = below is None
        # of an event that a run would not deliver, the stream that the node noted counts
        is_ordered = reason is None and not event.is_delivered
        # a run decodes such an event only where its noted stream would reject the one below
        trusted = not is_ordered and below is not None and event.noted == below.stream
        stream = event.noted if trusted else event.stream or event.noted or None
        if below is not None and stream not in {None, below.stream}:
            return _rejected(path, steps, below.cid, Reason.OTHER_STREAM, itself=below.cid == cid)
        if event.is_delivered:
            if itself:
                above = events.find(event.prev) if event.prev else None
                return Why(path, [*steps, *([Step.of(above)] if above else [])], "delivered")
            if stream is None:
                return Why(path, steps, "waiting", Reason.PREV_REJECTED, event.cid)
            return Why(path, steps, "deliverable")
        if reason is not None:
            return _rejected(path, steps, event.cid, reason, itself=itself)
        if event.prev is None:
            return Why(path, steps, "deliverable")
        below = event
    if below is None:
        raise _unknown(path, cid, has_block=bool(events.block(multihash(cid))))
    prev = below.prev or b""
    if any(step.cid == prev for step in steps):
        return Why(path, steps, "waiting", Reason.CYCLE)
    return Why(path, [*steps, Step(prev)], "waiting", Reason.PREV_MISSING, prev)


def _checked(
    events: Iterator[StoredEvent], check: NodeCheck | None
) -> Iterator[tuple[StoredEvent, Reason | None]]:
    """The events of a chain, each with the reason for which a run would reject it.

    None: a run would not reject it, or it is delivered.
    """
    for page in _pages(events):
        raw = pa.RecordBatch.from_pylist(
            [event.raw() for event in page if not event.is_delivered], schema=RAW
        )
        rejected = decode_events(raw, check).rejected
        reasons = dict(
            zip(
                rejected["rowid"].to_pylist(),
                map(Reason, rejected["reason"].to_pylist()),
                strict=True,
            )
        )
        for event in page:
            yield event, reasons.get(event.rowid)


def _pages(events: Iterator[StoredEvent]) -> Iterator[list[StoredEvent]]:
    page: list[StoredEvent] = []
    size = 0
    for event in events:
        page.append(event)
        size += len(event.root) + len(event.payload)
        if len(page) == PAGE_EVENTS or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _rejected(path: Path, steps: list[Step], cause: bytes, reason: Reason, *, itself: bool) -> Why:
    if itself:
        return Why(path, steps, "rejected", reason, None, reason)
    return Why(path, steps, "waiting", Reason.PREV_REJECTED, cause, reason)


def _unknown(path: Path, cid: bytes, *, has_block: bool) -> CannotStartError:
    part = "there is a block of this CID, of another event or left by one that is gone"
    return CannotStartError(
        f"`{path}` holds no event `{cid_text(cid)}`",
        why=part if has_block else None,
        advice="Check the CID, or fetch the event from another node; `ceramic-order missing` lists "
        "those that others wait for.",
    )
