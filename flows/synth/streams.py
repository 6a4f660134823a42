"""How synthetic streams grow: in which order events come, and which parent each has.

Many streams grow at the same time and their events come interleaved, parents first, as a node
receives them. A stream that waits for its anchor pauses until the tree is full or nothing else can
grow, so that one proof is shared by up to 1,024 events.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from flows.synth.events import (
    Capability,
    Event,
    Stream,
    anchor,
    capability,
    data_event,
    did_key,
    did_pkh,
    init_event,
    model_id,
    time_event,
)

if TYPE_CHECKING:
    from cbrrr import DagCborTypes

TIME_EVENTS = 0.25
"""Chance that an event is anchored next. A time event is not, so a fifth of all events are time
events, as with a node."""
ANCHORED_ALONE = 0.25
"""Share of time events that are their own root (`path` is empty), as in the databases that nodes
wrote."""
UNSIGNED_INITS = 0.1
WITH_HEADER = 0.05
TREE_DEPTH = 10
"""Levels of an anchor's tree: up to 1,024 events share one proof, as with the public anchor
service."""
STREAMS_OF_A_CONTROLLER = 4
CONTROLLERS_WITH_CAPABILITY = 4
"""One in so many controllers is an Ethereum account that signs through a capability, one for all
its events."""
MODELS = 16
GROWING_EVENTS = 65_536
"""The most events of the streams that grow at the same time: at 80 bytes for each CID, some MB."""
GROWING_STREAMS = 256
"""The fewest streams that grow at the same time: with fewer, anchors of long ones would share
nothing."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz     "
_TEXT = "".join(Random(0).choices(_LETTERS, k=4096))  # noqa: S311 # filler, the same everywhere


@dataclass(frozen=True)
class Population:
    """What a synthetic database holds."""

    streams: int
    length: int
    """Events of a stream, the init event among them."""
    forks: float = 0.0
    """Share of the events that name an earlier event of their stream instead of its latest."""
    missing: float = 0.0
    """Share of the events (never an init event) that are left out, so that what depends on them
    waits."""
    delivered_streams: int = 0
    """Number of streams that are complete and wholly delivered, the oldest ones."""
    seed: int = 0


class Grown(NamedTuple):
    """One event that a node would have stored."""

    event: Event
    delivered: int | None
    waits: bool
    """An event above it is missing."""


def grow(population: Population) -> Iterator[Grown]:
    """Yield the events of all streams, parents first; those that are missing are left out."""
    return _Growth(population).events()


@dataclass(slots=True)
class _Growing:
    """A stream that is not complete yet."""

    stream: Stream
    cap: Capability | None
    is_delivered: bool
    cids: list[bytes]
    waits: list[bool] = field(default_factory=lambda: [False])
    """For each of `cids`, whether it or an event above it is missing."""
    anchored: set[int] = field(default_factory=set)
    """Indices of time events and of what they anchor: none of these is anchored again."""
    anchors: int | None = None
    """If the latest event is a time event, the index of its parent."""


class _Growth:
    def __init__(self, population: Population) -> None:
        self.population = population
        self.rng = Random(population.seed)  # noqa: S311 # the same seed must give the same database
        self.numbers = count(1)
        self.unborn = iter(range(population.streams))
        self.at_once = max(GROWING_STREAMS, GROWING_EVENTS // population.length)
        self.growing: list[_Growing] = []
        self.anchoring: list[tuple[_Growing, int]] = []
        """Streams that wait for their anchor, each with the index of the event to anchor."""

    def events(self) -> Iterator[Grown]:
        while True:
            yield from self._begin_streams()
            if len(self.anchoring) == 1 << TREE_DEPTH or not self.growing:
                if not self.anchoring:
                    return
                yield from self._anchor()
            at = int(self.rng.random() * len(self.growing))
            one = self.growing[at]
            if len(one.cids) == self.population.length:
                self._pause(at)
                continue
            parent = self._choose_parent(one)
            if parent in one.anchored or self.rng.random() >= TIME_EVENTS:
                yield from self._add(one, self._change(one, parent), parent)
            elif self.rng.random() < ANCHORED_ALONE:
                yield from self._add(one, time_event(one.stream, one.cids[parent]), parent)
            else:
                self.anchoring.append((one, parent))
                self._pause(at)

    def _begin_streams(self) -> Iterator[Grown]:
        while (
            len(self.growing) + len(self.anchoring) < self.at_once
            and (index := next(self.unborn, None)) is not None
        ):
            controller, cap = _controller(index // STREAMS_OF_A_CONTROLLER)
            signed = self.rng.random() >= UNSIGNED_INITS
            init = init_event(
                self.population.seed << 64 | index,
                signed=signed,
                model=model_id(index % MODELS),
                controller=controller,
                data={"n": self.rng.getrandbits(43), "name": self._text()} if signed else None,
                cap=cap,
            )
            yield Grown(init, next(self.numbers), waits=False)
            self.growing.append(
                _Growing(init.stream, cap, index < self.population.delivered_streams, [init.cid])
            )

    def _anchor(self) -> Iterator[Grown]:
        witnesses = anchor([one.cids[parent] for one, parent in self.anchoring], depth=TREE_DEPTH)
        for (one, parent), witness in zip(self.anchoring, witnesses, strict=True):
            yield from self._add(one, time_event(one.stream, one.cids[parent], witness), parent)
            self.growing.append(one)
        self.anchoring = []

    def _pause(self, at: int) -> None:
        self.growing[at] = self.growing[-1]
        self.growing.pop()

    def _choose_parent(self, one: _Growing) -> int:
        latest = len(one.cids) - 1
        if not latest or self.rng.random() >= self.population.forks:
            return latest
        # the natural fork: a change made while the anchor was under way
        return int(self.rng.random() * latest) if one.anchors is None else one.anchors

    def _change(self, one: _Growing, parent: int) -> Event:
        patches: list[DagCborTypes] = [
            {"op": "replace", "path": "/name", "value": self._text()},
            {"op": "add", "path": "/k", "value": self.rng.getrandbits(43)},
        ]
        header = {"shouldIndex": True} if self.rng.random() < WITH_HEADER else None
        return data_event(one.stream, one.cids[parent], patches, header=header, cap=one.cap)

    def _add(self, one: _Growing, event: Event, parent: int) -> Iterator[Grown]:
        is_missing = not one.is_delivered and self.rng.random() < self.population.missing
        waits = one.waits[parent]
        one.anchors = parent if event.kind == "time" else None
        if event.kind == "time":
            one.anchored.update((parent, len(one.cids)))
        one.cids.append(event.cid)
        one.waits.append(waits or is_missing)
        if not is_missing:
            yield Grown(event, next(self.numbers) if one.is_delivered else None, waits)

    def _text(self) -> str:
        """48 to 448 characters, as in the databases that nodes wrote."""
        start = int(self.rng.random() * 3600)
        return _TEXT[start : start + 48 + int(self.rng.random() * 400)]


@lru_cache(maxsize=4096)
def _controller(index: int) -> tuple[str, Capability | None]:
    if index % CONTROLLERS_WITH_CAPABILITY:
        return did_key(index), None
    account = did_pkh(index)
    return account, capability(account, index)
