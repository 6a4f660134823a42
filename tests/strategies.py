"""Hypothesis strategies: forests of events as a database may hold them, and tables of links."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from hypothesis import strategies as st

from flows.synth_schema import SchemaVersion
from flows.synthetic import Event, data_event, init_event, time_event
from tests.main_job import store

Fate = Literal["stored", "delivered", "missing", "payload missing", "unreadable"]


class Step(NamedTuple):
    """How one more event comes to a forest."""

    kind: Literal["init", "unsigned init", "data", "time"]
    parent: int
    """Index of the parent among the events before it, modulo their number."""
    stream: int | None
    """Index of the event whose stream it claims to be in, likewise; None: its parent's."""
    fate: Fate
    noted: bool
    """Whether the node noted its init CID."""


@dataclass(frozen=True)
class Forest:
    """A database to be. What does not fit in its `repr` is derived, so that a failing example can be read."""

    plan: tuple[Step, ...]
    rows: tuple[int, ...]
    """Indices of the steps whose events are stored, in row order."""
    schema_version: SchemaVersion

    def store(self, path: Path) -> Path:
        """Write a new database; `path`."""
        events = _grow(self.plan)
        return store(
            path,
            [_damage(events[row], self.plan[row].fate) for row in self.rows],
            [2 * row + 1 if self.plan[row].fate == "delivered" else None for row in self.rows],
            schema_version=self.schema_version,
            without_init_cid=[events[row].cid for row in self.rows if not self.plan[row].noted and self.schema_version != "v0.30"],
        )


def _grow(steps: Sequence[Step]) -> list[Event]:
    """The events of all steps, parents first; the first one is an init event whatever its step says."""
    events: list[Event] = []
    for index, step in enumerate(steps):
        if not events or step.kind in {"init", "unsigned init"}:
            events.append(init_event(index, signed=step.kind != "unsigned init"))
            continue
        parent = events[step.parent % len(events)]
        stream = parent.stream if step.stream is None else events[step.stream % len(events)].stream
        anchor = time_event(stream, parent.cid)
        # a second anchor of the same event, with the same proof, would be the same event
        is_time = step.kind == "time" and anchor.cid not in {event.cid for event in events}
        events.append(anchor if is_time else data_event(stream, parent.cid, {"n": index}))
    return events


def _damage(event: Event, fate: Fate) -> Event:
    root = next(block for block in event.blocks if block.is_root)
    if fate == "payload missing":
        return event._replace(blocks=(root,))
    if fate == "unreadable":
        return event._replace(blocks=(root._replace(content=b"\xa1" + root.content),))
    return event


_FATES: list[Fate] = [*["stored"] * 6, *["delivered"] * 3, "missing", "payload missing", "unreadable"]  # type: ignore[list-item] # of *
"""Most events are whole, or a forest would be nothing but gaps. A delivered event may lie below one that is not, as old damage."""

_VERSIONS: list[SchemaVersion] = ["v0.38", "v0.36", "v0.30"]

steps = st.builds(
    Step,
    kind=st.sampled_from(["data", "data", "data", "time", "init", "unsigned init"]),
    parent=st.integers(0, 63),
    stream=st.sampled_from([None] * 9 + [0, 1, 2]),
    fate=st.sampled_from(_FATES),
    noted=st.booleans(),
)


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Forests of up to 40 events with forks, gaps, damage, wrong streams, delivered events, and rows in any order."""
    plan = draw(st.lists(steps, min_size=1, max_size=40))
    rows = draw(st.permutations([row for row, step in enumerate(plan) if step.fate != "missing"]))
    return Forest(tuple(plan), tuple(rows), draw(st.sampled_from(_VERSIONS)))
