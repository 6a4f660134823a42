"""A database through its life: events come and go, runs end or are stopped midway.

Hypothesis chooses what happens next. After each run a model of a few lines says which events must
be delivered and why others are not.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from connectors.sqlite import connect, execute
from flows.synth.database import create_database
from flows.synth.events import Event, Kind, data_event, init_event, time_event
from operators.schemas import Reason
from tests.crash.conftest import Children, Faults, Forked, check_numbers
from tests.support.insert import insert_events
from tests.support.job import deliver
from tests.support.oracle import Contents, check, read

KILLED_AT = 40
"""A run of a few events in small batches makes about so many changes to its files."""


class Damage(NamedTuple):
    """How an event may be damaged."""

    sql: str
    """With the event's CID and the multihash of the block in question."""
    reason: Reason
    of_block: int
    """Index of that block among those of an event of this kind."""
    kinds: tuple[Kind, ...]


_ZEROS = "UPDATE ceramic_one_block SET bytes = zeroblob(length(bytes)) WHERE multihash = x'{block}'"
_LOST = "DELETE FROM ceramic_one_block WHERE multihash = x'{block}'"
_NOT_LISTED = """
    DELETE FROM ceramic_one_event_block WHERE event_cid = x'{cid}' AND block_multihash = x'{block}'
"""

DAMAGES = (
    Damage(_ZEROS, Reason.NOT_DAG_CBOR, 0, ("data", "time")),
    Damage(_ZEROS, Reason.NOT_DAG_CBOR, 1, ("data",)),
    Damage(_ZEROS, Reason.PROOF_UNREADABLE, 1, ("time",)),
    Damage(_LOST, Reason.PAYLOAD_MISSING, 0, ("data",)),
    Damage(_LOST, Reason.ROOT_MISSING, 1, ("data",)),
    Damage(_LOST, Reason.ROOT_MISSING, 0, ("time",)),
    Damage(_LOST, Reason.PROOF_MISSING, 1, ("time",)),
    Damage(_NOT_LISTED, Reason.NOT_LISTED, 1, ("data", "time")),
)
"""A data event is its payload and its envelope, a time event its root block and its proof."""

_KINDS: list[Kind] = ["data", "data", "time"]
_lost = st.sets(st.integers(0, 15), max_size=4)

READABLE = {Reason.PROOF_UNREADABLE, Reason.PROOF_MISSING, Reason.NOT_LISTED}

places = st.integers(0, 63)
"""An index into any list, modulo its length."""


class Database(RuleBasedStateMachine):
    """One database file, and what must be in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.names = count(1)
        self.events: dict[bytes, Event] = {}
        """All events that anybody has made."""
        self.stored: set[bytes] = set()
        self.numbers: dict[bytes, int] = {}
        self.damaged: dict[bytes, Reason] = {}
        create_database(path).close()
        self.begin_stream(delivered=True)

    def reason(self, cid: bytes) -> Reason | None:
        """Why a stored event can't be delivered, None if it can or is."""
        if cid in self.numbers or cid in self.damaged:
            return self.damaged.get(cid)
        prev = self.events[cid].prev
        if prev is None or prev not in self.stored:
            return None if prev is None else Reason.PREV_MISSING
        above = self.reason(prev)
        return above if above in {None, Reason.PREV_MISSING} else Reason.PREV_REJECTED

    @property
    def unservable(self) -> frozenset[bytes]:
        """The damaged events that are readable all the same."""
        return frozenset(cid for cid, reason in self.damaged.items() if reason in READABLE)

    @property
    def missing(self) -> list[bytes]:
        """The events that are not stored."""
        return [cid for cid in self.events if cid not in self.stored]

    @property
    def sound(self) -> list[bytes]:
        """The undelivered events: the blocks of others are no longer needed."""
        return [
            cid
            for cid in self.events
            if self.events[cid].prev
            and cid in self.stored - self.numbers.keys() - self.damaged.keys()
        ]

    @rule(delivered=st.booleans())
    def begin_stream(self, *, delivered: bool) -> None:
        """A node stores init events as delivered; a few are not."""
        init = init_event(next(self.names))
        self.events[init.cid] = init
        self._store([init], delivered=delivered)

    @rule(
        parent=places,
        kinds=st.lists(st.sampled_from(_KINDS), min_size=3, max_size=8),
        lost=_lost,
        rows=st.randoms(),
    )
    def grow_chain(self, parent: int, kinds: list[Kind], lost: set[int], rows: Random) -> None:
        """Events come in any order, and some never arrive."""
        chain: list[Event] = []
        for kind in kinds:
            chain.append(self._child(chain[-1] if chain else self._event(parent), kind))
        arrived = [event for at, event in enumerate(chain) if at not in lost]
        rows.shuffle(arrived)
        self._store(arrived)

    @rule(parent=places, siblings=st.integers(2, 4))
    def fork(self, parent: int, siblings: int) -> None:
        """Several children of one parent."""
        self._store([self._child(self._event(parent), "data") for _ in range(siblings)])

    @precondition(lambda self: self.missing)
    @rule(place=places)
    def find_missing_event(self, place: int) -> None:
        """One arrives at last."""
        missing = self.missing
        self._store([self.events[missing[place % len(missing)]]])

    @precondition(lambda self: self.sound)
    @rule(place=places, how=places)
    def damage(self, place: int, how: int) -> None:
        """An undelivered event loses a block, or finds zeros in it."""
        sound = self.sound
        event = self.events[sound[place % len(sound)]]
        ways = [damage for damage in DAMAGES if event.kind in damage.kinds]
        way = ways[how % len(ways)]
        self._execute(
            way.sql.format(cid=event.cid.hex(), block=event.blocks[way.of_block].multihash.hex())
        )
        self.damaged[event.cid] = way.reason

    @precondition(lambda self: self.damaged)
    @rule(place=places)
    def repair(self, place: int) -> None:
        """A sound copy of an event is put in the place of a damaged one."""
        self._repair(list(self.damaged)[place % len(self.damaged)])

    @rule(
        workers=st.sampled_from([1, 2]),
        partitions=st.integers(1, 3),
        shards=st.integers(1, 4),
        batch_rows=st.integers(1, 20),
    )
    def run(self, workers: int, partitions: int, shards: int, batch_rows: int) -> None:
        """The main job, to its end."""
        before = read(self.path)
        run_state = deliver(
            self.path, workers=workers, partitions=partitions, shards=shards, batch_rows=batch_rows
        )
        after = read(self.path)
        assert len(check(before, after, self.unservable)) == run_state.delivered
        reasons = {cid: self.reason(cid) for cid in self.stored}
        self._note(after)
        assert self.numbers.keys() == {cid for cid, reason in reasons.items() if reason is None}
        assert run_state.reasons == Counter(str(reason) for reason in reasons.values() if reason)

    @precondition(lambda self: self.stored - self.numbers.keys())
    @rule(after=st.integers(0, 6), batch_rows=st.integers(1, 3))
    def run_into_a_failing_write(self, after: int, batch_rows: int) -> None:
        """The database refuses one of the numbers, in the middle of a batch."""
        before = read(self.path)
        number = before.highest + 1 + after
        refuse = f"WHEN NEW.delivered = {number} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        self._execute(f"CREATE TRIGGER refuse BEFORE UPDATE ON ceramic_one_event {refuse}")
        try:
            deliver(self.path, batch_rows=batch_rows)
        except Exception as error:  # noqa: BLE001 # Bytewax chooses the class
            assert "refused" in str(error.__cause__ or error)  # noqa: PT017 # it may also end well
        self._execute("DROP TRIGGER refuse")
        self._check_stopped(before)

    def _event(self, place: int) -> Event:
        return list(self.events.values())[place % len(self.events)]

    def _child(self, parent: Event, kind: Kind) -> Event:
        """A new event; a second anchor would be the same event, and becomes a data event."""
        anchor = time_event(parent.stream, parent.cid)
        is_new = kind == "time" and anchor.cid not in self.events
        child = anchor if is_new else data_event(parent.stream, parent.cid, {"n": next(self.names)})
        self.events[child.cid] = child
        return child

    def _store(self, events: list[Event], *, delivered: bool = False) -> None:
        number = max(self.numbers.values(), default=0) + 1
        with closing(connect(self.path, "rw")) as connection:
            insert_events(connection, events, [number if delivered else None] * len(events))
        self.stored |= {event.cid for event in events}
        if delivered:
            self.numbers[events[0].cid] = number

    def _repair(self, cid: bytes) -> None:
        for block in self.events[cid].blocks:
            key, content = f"x'{block.multihash.hex()}'", f"x'{block.content.hex()}'"
            self._execute(
                "INSERT OR REPLACE INTO ceramic_one_block (multihash, bytes)"
                f" VALUES ({key}, {content})"
            )  # hex
            row = f"VALUES (x'{cid.hex()}', {key}, {block.codec}, 0, {block.is_root})"
            self._execute(
                "INSERT OR IGNORE INTO ceramic_one_event_block"
                f" (event_cid, block_multihash, codec, idx, root) {row}"
            )
        del self.damaged[cid]

    def _execute(self, sql: str) -> None:
        with closing(connect(self.path, "rw")) as connection:
            execute(connection, sql)

    def _note(self, contents: Contents) -> None:
        self.numbers = {
            cid: number for cid, number in contents.numbers.items() if number is not None
        }

    def _check_stopped(self, before: Contents) -> None:
        after = read(self.path)
        assert after.rest == before.rest
        self._note(after)
        check_numbers(before, dict(sorted(self.numbers.items(), key=lambda item: item[1])))

    def teardown(self) -> None:
        """Whatever has happened: once everything is found and repaired, one run delivers it all."""
        if missing := self.missing:
            self._store([self.events[cid] for cid in missing])
        for cid in list(self.damaged):
            self._repair(cid)
        self.run(1, 2, 4, 100)
        assert self.numbers.keys() == self.events.keys()


class KilledDatabase(Database):
    """The same, and some runs are killed."""

    def __init__(self, path: Path, processes: Children | Forked) -> None:
        super().__init__(path)
        self.processes = processes

    @rule(at=st.integers(1, KILLED_AT), batch_rows=st.integers(1, 5))
    def run_until_killed(self, at: int, batch_rows: int) -> None:
        """The command line, killed in one of its writes."""
        before = read(self.path)
        faults = Faults("kill", first=at)
        ended = self.processes.run(
            self.path, "--batch-rows", str(batch_rows), "--quiet", faults=faults
        )
        assert ended.code in {0, -SIGKILL}, ended
        self._check_stopped(before)


def _live(new: Callable[[Path], Database], folder: Path, *, lives: int, steps: int) -> None:
    names = count()
    run_state_machine_as_test(
        # Hypothesis calls it, whatever its type says
        lambda: new(folder / f"life-{next(names)}.db"),  # type: ignore[arg-type]
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_to_a_database_a_run_delivers_what_can_be_delivered(
    tmp_path: Path,
) -> None:
    _live(Database, tmp_path, lives=20, steps=20)


def test_kills_between_anything_lose_nothing(tmp_path: Path, children: Children) -> None:
    _live(lambda path: KilledDatabase(path, children), tmp_path, lives=8, steps=15)


@pytest.mark.soak
@pytest.mark.parametrize("lives", [100] * 10)
def test_a_thousand_long_lives(tmp_path: Path, lives: int) -> None:
    _live(Database, tmp_path, lives=lives, steps=50)


@pytest.mark.soak
@pytest.mark.parametrize("lives", [25] * 4)
def test_a_hundred_long_lives_with_kills(tmp_path: Path, forked: Forked, lives: int) -> None:
    _live(lambda path: KilledDatabase(path, forked), tmp_path, lives=lives, steps=30)
