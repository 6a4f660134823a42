"""Why: what decides whether one event can be delivered, and the chain of prevs up to there.

Each event of the chain is judged by the rules of the flow (`operators.decode`), so this says of an
event what a run says of it, without reading the rest of the database.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa

from connectors.database import locate
from connectors.errors import CannotStartError
from connectors.run_state import RunState
from connectors.snapshot import Reader
from connectors.sqlite import sqlite_errors
from flows.jobs.event_names import FORMS, parse_event
from flows.jobs.prev_chain import EventReader, StoredEvent
from flows.jobs.runner import finish_by, nothing_changed
from flows.lookups import LookUps
from flows.terminal.signals import stopped_by_signals
from flows.terminal.words import counted
from operators.check.batch import NodeCheck
from operators.decode import decode_events
from operators.encoding.cid import cid_text, multihash
from operators.schemas import RAW, Reason

PAGE_EVENTS = 1000
"""Events of a chain that are judged together: a tenth of the time of one by one."""

_FETCH = "Fetch it from another node with all its blocks, then run again."
_LOST = (
    "No run delivers it, nor what is below it. If another node has a sound copy, fetch it again; "
    "`ceramic-order verify --hashes` says whether its blocks are damaged here."
)
_DAMAGED = (
    "Numbers are never changed once they are written: `ceramic-order verify` lists all events like "
    "this one."
)
_REASONS: dict[Reason, tuple[str, str]] = {
    Reason.ROOT_MISSING: ("has no root block in the database", _FETCH),
    Reason.PAYLOAD_MISSING: ("has no payload block in the database", _FETCH),
    Reason.NOT_DAG_CBOR: ("holds a block that is not DAG-CBOR", _LOST),
    Reason.NOT_AN_EVENT: ("has a block that is not of any kind of event", _LOST),
    Reason.PAYLOAD_NO_CID: ("names a payload that is no CID", _LOST),
    Reason.NO_LINK: ("has an id or prev that is no link", _LOST),
    Reason.OTHER_STREAM: ("names a prev that belongs to another stream", _LOST),
    Reason.ORDER_KEY: ("has an order key that is no event id", _LOST),
    Reason.EVENT_BLOCKS_UNREADABLE: ("has a row of event blocks that a node can't read", _LOST),
    Reason.OTHER_ROOT: ("has another block, or none, flagged as its root", _LOST),
    Reason.SERVED_AS_OTHER: (
        "is a time event in a form that a node would serve under another CID",
        _LOST,
    ),
    Reason.BLOCK_TOO_LARGE: ("has a block of more than 4 MiB, which a node can't read", _LOST),
    Reason.NOT_LISTED: ("needs a block that the node has not listed for it", _FETCH),
    Reason.SIGNATURES_EMPTY: ("has no signature, so a node could not serve it", _LOST),
    Reason.CAPABILITY_MISSING: (
        "is signed by a capability whose block is not in the database",
        _FETCH,
    ),
    Reason.CAPABILITY_UNREADABLE: ("is signed by a capability that can't be read", _LOST),
    Reason.PROOF_MISSING: ("is anchored by a proof whose block is not in the database", _FETCH),
    Reason.PROOF_UNREADABLE: ("is anchored by a proof that can't be read", _LOST),
    Reason.WITNESS_MISSING: (
        "has a node on the way from its proof to its prev that is not in the database",
        _FETCH,
    ),
    Reason.WITNESS_UNREADABLE: (
        "has a node on the way from its proof to its prev that can't be read",
        _LOST,
    ),
    Reason.WITNESS_PATH: ("has a path that does not lead from its proof to its prev", _LOST),
}
"""What an event is like that is rejected for this reason, and what to do."""


Verdict = Literal["delivered", "deliverable", "waiting", "rejected"]


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a chain; its blocks are not kept, because chains can be long."""

    cid: bytes
    rowid: int | None = None
    """None: the database does not hold it."""
    kind: str | None = None
    stream: bytes | None = None
    prev: bytes | None = None
    number: int | None = None

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        """An event that the database holds."""
        return cls(event.cid, event.rowid, event.kind, event.stream, event.prev, event.number)

    def to_json(self) -> dict[str, object]:
        """One item of `chain` in the document of `--json`."""
        return {
            "cid": cid_text(self.cid),
            "in_database": self.rowid is not None,
            "rowid": self.rowid,
            "kind": self.kind,
            "stream": self.stream and cid_text(self.stream),
            "prev": self.prev and cid_text(self.prev),
            "delivered": self.number,
        }


@dataclass(frozen=True)
class Why:
    """What decides whether an event can be delivered."""

    database: Path
    chain: list[Step]
    """From the event up to what decides: the cause, the delivered event above it, or its init
    event."""
    verdict: Verdict
    reason: Reason | None = None
    """Why it waits or is rejected, as a run would report it."""
    cause: bytes | None = None
    """CID of what is missing or rejected above it, as a run would report it."""
    cause_reason: Reason | None = None
    """Why the cause, or else the event itself, is rejected."""
    undelivered: int = 0
    """Of the stream that this event begins, if it is a delivered init event."""
    stuck: "Why | None" = None
    """Of one of these events, the first that no run would deliver if there is one."""

    @property
    def sentence(self) -> str:
        """The cause, for people."""
        event, last = self.chain[0], self.chain[-1]
        who = "It" if self.cause is None else f"Above it, `{cid_text(self.cause)}`"
        if self.verdict == "delivered":
            own = f"It is delivered, with the number {event.number:,}{_damage(event, last)}."
            return f"{own}{self._of_stream()}"
        if self.verdict == "deliverable":
            top = (
                f"the delivered event `{cid_text(last.cid)}`"
                if last.number is not None
                else "an init event"
            )
            return f"Nothing is in its way: its chain ends at {top}."
        if self.reason is Reason.CYCLE:
            return f"Its prevs lead in a circle, back to `{cid_text(last.prev or b'')}`."
        if self.reason is Reason.PREV_MISSING:
            return f"It waits for `{cid_text(last.cid)}`, which the database does not hold."
        if self.cause_reason is None:
            return f"{who} is delivered, but can't be read, so nobody knows its stream."
        return f"{who} {_REASONS[self.cause_reason][0]}."

    def _of_stream(self) -> str:
        """What is to be said of the rest of its stream; empty: all of it is delivered."""
        if self.stuck is None:
            return ""
        events = counted(self.undelivered, "event")
        said = self.stuck.sentence
        return (
            f"\nBut of its stream {events} {'is' if self.undelivered == 1 else 'are'} undelivered. "
            f"One is `{cid_text(self.stuck.chain[0].cid)}`: {said[0].lower()}{said[1:]}"
        )

    @property
    def advice(self) -> str:
        """What to do, for people."""
        if self.stuck is not None:
            return self.stuck.advice
        if self.verdict == "delivered":
            is_damaged = _damage(self.chain[0], self.chain[-1])
            return _DAMAGED if is_damaged else "Nothing needs to be done."
        if self.verdict == "deliverable":
            return f"`ceramic-order run {self.database}` delivers it."
        if self.reason is Reason.PREV_MISSING:
            return (
                "Fetch that event from another node, then run again; `ceramic-order missing` lists "
                "all such events."
            )
        return _LOST if self.cause_reason is None else _REASONS[self.cause_reason][1]

    def to_json(self) -> dict[str, object]:
        """The document of `--json`, a written contract (flows/cli/README.md)."""
        return {
            "database": str(self.database),
            "cid": cid_text(self.chain[0].cid),
            "verdict": self.verdict,
            "reason": self.reason,
            "cause": self.cause and cid_text(self.cause),
            "cause_reason": self.cause_reason,
            "sentence": self.sentence,
            "advice": self.advice,
            "chain": [step.to_json() for step in self.chain],
            "undelivered_in_stream": self.undelivered,
            "stuck": self.stuck and self.stuck.to_json(),
        }


def why(database: Path, text: str, *, check_node: bool = True) -> Why:
    """Find out what decides whether the event that `text` names can be delivered.

    `text` is in one of the forms of `flows.jobs.event_names`. With `check_node` it is judged as
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


def _find_cause(path: Path, cid: bytes, events: EventReader, check: NodeCheck | None) -> Why:
    steps: list[Step] = []
    below: StoredEvent | None = None
    for event, reason in _judged(events.climb(cid), check):
        steps.append(Step.of(event))
        itself = below is None
        # of what is not to be delivered now, the node's note counts
        is_ordered = reason is None and not event.is_delivered
        # the run decodes an event outside the flow only where its note would reject the one below
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


def _judged(
    events: Iterator[StoredEvent], check: NodeCheck | None
) -> Iterator[tuple[StoredEvent, Reason | None]]:
    """The events of a chain, each with the reason for which a run would reject it.

    None: a run would not reject it, or it is delivered.
    """
    while page := list(islice(events, PAGE_EVENTS)):
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


def _damage(event: Step, above: Step) -> str:
    if event.prev != above.cid:
        return ""
    if above.number is None:
        return ", though its prev is not delivered"
    if event.number is not None and above.number > event.number:
        return f", though its prev has the larger number {above.number:,}"
    return ""
