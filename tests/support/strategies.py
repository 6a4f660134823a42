"""Hypothesis strategies: forests of events as a database may hold them, and tables of links."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

from cbrrr import CID, decode_dag_cbor, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.synth.events import (
    Event,
    block,
    build_event,
    capability,
    data_event,
    init_event,
    time_event,
)
from flows.synth.schema import SchemaVersion
from tests.support.job import store

Kind = Literal["init", "unsigned init", "data", "odd data", "time"]
Fate = Literal["stored", "delivered", "missing", "payload missing", "unreadable", "not servable"]

_CAPABILITY = capability("did:pkh:eip155:1:0x0", 0)


class Step(NamedTuple):
    """How one more event comes to a forest."""

    kind: Kind
    """An odd envelope has a key that no layout knows. The second anchor of an event would be the
    same event and becomes a data event."""
    parent: int
    """Index of the parent among the events before it, modulo their number."""
    stream: int | None
    """Index of the event whose stream it claims to be in, likewise; None: its parent's."""
    fate: Fate
    noted: bool
    """Whether the node noted its init CID."""


@dataclass(frozen=True)
class Forest:
    """A database to be. What is not in its `repr` is derived, so that a failure can be read."""

    plan: tuple[Step, ...]
    rows: tuple[int, ...]
    """Indices of the steps whose events are stored, in row order."""
    schema_version: SchemaVersion

    @cached_property
    def events(self) -> list[Event]:
        """The events of all steps, whole, parents first."""
        return _grow(self.plan)

    @property
    def unservable(self) -> frozenset[bytes]:
        """The CIDs of the readable events that lack something which a node needs to serve them."""
        return frozenset(
            event.cid
            for event, step in zip(self.events, self.plan, strict=True)
            if _is_unservable(event, step)
        )

    def store(self, path: Path) -> Path:
        """Write a new database; `path`."""
        return store(
            path,
            [_damage(self.events[row], self.plan[row]) for row in self.rows],
            [2 * row + 1 if self.plan[row].fate == "delivered" else None for row in self.rows],
            schema_version=self.schema_version,
            without_init_cid=[
                self.events[row].cid
                for row in self.rows
                if not self.plan[row].noted and self.schema_version != "v0.30"
            ],
        )


def _grow(plan: Sequence[Step]) -> list[Event]:
    """The first event is an init event whatever its step says."""
    events: list[Event] = []
    for index, step in enumerate(plan):
        cap = _CAPABILITY if step.fate == "not servable" else None
        if not events or step.kind in {"init", "unsigned init"}:
            events.append(init_event(index, signed=step.kind != "unsigned init", cap=cap))
            continue
        parent = events[step.parent % len(events)]
        stream = parent.stream if step.stream is None else events[step.stream % len(events)].stream
        anchor = time_event(stream, parent.cid)
        if step.kind == "time" and anchor.cid not in {event.cid for event in events}:
            events.append(anchor)
        else:
            change = data_event(stream, parent.cid, {"n": index}, cap=cap)
            events.append(with_odd_envelope(change) if step.kind == "odd data" else change)
    return events


def with_odd_envelope(event: Event) -> Event:
    """The same change in an envelope with one more key, which is another event."""
    *others, root = event.blocks
    fields = decode_dag_cbor(root.content)
    assert isinstance(fields, dict)
    envelope = block(
        encode_dag_cbor({**fields, "link": CID(others[-1].cid)}), root.codec, is_root=True
    )
    return build_event(event.stream, event.kind, event.prev, (*others, envelope))


def _is_unservable(event: Event, step: Step) -> bool:
    return step.fate == "not servable" and len(event.blocks) > 1


def _damage(event: Event, step: Step) -> Event:
    root = next(block for block in event.blocks if block.is_root)
    if step.fate == "payload missing" and event.kind != "time":
        return event._replace(blocks=(root,))
    if step.fate == "unreadable":
        return event._replace(blocks=(root._replace(content=b"\xa1" + root.content),))
    if _is_unservable(event, step):
        # a time event without its proof, a signed one without the capability that it names
        lost = event.blocks[1] if event.kind == "time" else event.blocks[0]
        return event._replace(blocks=tuple(block for block in event.blocks if block != lost))
    return event


_WHOLE: list[Fate] = ["stored", "stored", "delivered"]
_LOST: list[Fate] = ["missing", "payload missing", "unreadable", "not servable"]
_FATES = _WHOLE * 3 + _LOST
"""Most events are whole, or a forest would be nothing but gaps. A delivered event may lie below
one that is not, as old damage."""

_KINDS: list[Kind] = ["data", "data", "data", "odd data", "time", "init", "unsigned init"]
_VERSIONS: list[SchemaVersion] = ["v0.38", "v0.36", "v0.30"]

steps = st.builds(
    Step,
    kind=st.sampled_from(_KINDS),
    parent=st.integers(0, 63),
    stream=st.sampled_from([None] * 9 + [0, 1, 2]),
    fate=st.sampled_from(_FATES),
    noted=st.booleans(),
)


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Forests of up to 40 events: forks, gaps, damage, wrong streams, rows in any order."""
    plan = draw(st.lists(steps, min_size=1, max_size=40))
    rows = draw(st.permutations([row for row, step in enumerate(plan) if step.fate != "missing"]))
    return Forest(tuple(plan), tuple(rows), draw(st.sampled_from(_VERSIONS)))


def check_forests(check: Callable[[Forest, Path], None], folder: Path, databases: int) -> None:
    """Hold so many random forests to a check, each with the path for a database of its own."""
    number = count()

    @settings(max_examples=databases, deadline=None, print_blob=True)
    @given(forest=forests())
    def hold(forest: Forest) -> None:
        check(forest, folder / f"{next(number)}.db")

    hold()
