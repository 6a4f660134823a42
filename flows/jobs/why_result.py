"""What was found out about one event, and how that is said."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from flows.jobs.prev_chain import StoredEvent
from flows.terminal.words import counted
from operators.encoding.cid import cid_text
from operators.schemas import Reason

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
"""For each reason: what is wrong with an event that is rejected for it, and what to do."""

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
    """Undelivered events of the stream that this event begins, if it is a delivered init event."""
    stuck: "Why | None" = None
    """What decides of one of these: the first that no run would deliver, if there is one."""

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
        """The sentence on the rest of its stream; empty: all of it is delivered."""
        if self.stuck is None:
            return ""
        events = counted(self.undelivered, "event")
        return (
            f"\nBut of its stream {events} {'is' if self.undelivered == 1 else 'are'} undelivered. "
            f"One is `{cid_text(self.stuck.chain[0].cid)}`. {self.stuck.sentence}"
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


def _damage(event: Step, above: Step) -> str:
    if event.prev != above.cid:
        return ""
    if above.number is None:
        return ", though its prev is not delivered"
    if event.number is not None and above.number > event.number:
        return f", though its prev has the larger number {above.number:,}"
    return ""
