"""The node's own test cases for its start-up ordering, with any number of workers and partitions.

In each, a stream of n is its init event, delivered, and n - 1 undelivered data events in one chain.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from connectors.page_sizes import PageSizes
from connectors.run_state import RunState
from connectors.sqlite import connect
from flows.synth.events import Event
from tests.support.insert import insert_events
from tests.support.job import chain, deliver, store
from tests.support.oracle import Contents, check, read
from tests.support.program import ceramic_order
from tests.support.program import run as run_program


class Run(Protocol):
    """Runs the main job on a database and lets the oracle check the result.

    Returns the run state, and the database afterwards.
    """

    def __call__(  # noqa: D102 # the class says it
        self, path: Path, **settings: PageSizes
    ) -> tuple[RunState, Contents]: ...


def command_line(path: Path, *, partitions: int, **_: int) -> RunState:
    """The main job in a process of its own, as a user starts it."""
    options = ["--partitions", str(partitions), "--json", "--quiet"]
    document = run_program(ceramic_order("run", path, *options)).document
    return RunState(
        discovered=document["discovered"],
        delivered=document["delivered"],
        reasons=Counter(document["reasons"]),
    )


IN_PROCESS = [(workers, partitions) for workers in (1, 2) for partitions in (1, 4, 16)]


@pytest.fixture(params=IN_PROCESS, ids=lambda how: f"by {how[0]} in {how[1]}")
def run(request: pytest.FixtureRequest) -> Run:
    """By one worker and by two, in three numbers of partitions."""
    workers, partitions = request.param
    return _checked(deliver, workers, partitions)


def _checked(job: Callable[..., RunState], workers: int, partitions: int) -> Run:
    def run_and_check(path: Path, **settings: PageSizes) -> tuple[RunState, Contents]:
        before = read(path)
        run_state = job(path, workers=workers, partitions=partitions, **settings)
        after = read(path)
        assert run_state.delivered == len(check(before, after))
        return run_state, after

    return run_and_check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


def in_chain_order(contents: Contents, stream: Sequence[Event]) -> bool:
    numbers = [contents.numbers[event.cid] or 0 for event in stream]
    return numbers[0] > 0 and all(parent < child for parent, child in pairwise(numbers))


def undelivered(contents: Contents, events: Sequence[Event]) -> int:
    return sum(contents.numbers[event.cid] is None for event in events)


def add(path: Path, events: Sequence[Event]) -> None:
    with closing(connect(path, "rw")) as connection:
        insert_events(connection, events)


def test_an_empty_database_has_nothing_to_discover(path: Path, run: Run) -> None:
    run_state, _ = run(store(path, []))
    assert (run_state.discovered, run_state.delivered, dict(run_state.reasons)) == (0, 0, {})


def test_a_stream_whose_init_is_inserted_last_is_delivered_in_chain_order(
    path: Path, run: Run
) -> None:
    stream = chain(10)
    run_state, after = run(store(path, [*stream[1:], stream[0]]))
    assert (run_state.discovered, run_state.delivered) == (9, 9)
    assert in_chain_order(after, stream)


def test_five_streams_are_delivered(path: Path, run: Run) -> None:
    streams = [chain(10, seed) for seed in range(5)]
    _, after = run(store(path, [event for stream in streams for event in stream]))
    assert all(in_chain_order(after, stream) for stream in streams)


def test_events_whose_init_is_missing_wait(path: Path, run: Run) -> None:
    stream = chain(10)
    run_state, after = run(store(path, stream[1:]))
    assert (run_state.discovered, run_state.delivered, dict(run_state.reasons)) == (
        9,
        0,
        {"prev missing": 9},
    )
    assert undelivered(after, stream[1:]) == 9


@pytest.fixture(scope="module")
def thousand_streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    streams = (chain(10, seed) for seed in range(1000))
    return store(
        tmp_path_factory.mktemp("thousand") / "node.db",
        [event for stream in streams for event in stream],
    )


def test_a_thousand_streams_are_delivered(path: Path, run: Run, thousand_streams: Path) -> None:
    shutil.copyfile(thousand_streams, path)
    run_state, after = run(path)
    assert run_state.delivered == 9000
    assert all(in_chain_order(after, chain(10, seed)) for seed in range(1000))


def test_the_command_line_does_the_same(path: Path, thousand_streams: Path) -> None:
    shutil.copyfile(thousand_streams, path)
    run_state, _ = _checked(command_line, workers=1, partitions=4)(path)
    assert run_state.delivered == 9000


def test_shuffled_streams_that_came_in_two_halves_are_delivered_in_chain_order(
    path: Path, run: Run
) -> None:
    streams = [chain(100, seed) for seed in range(10)]
    events = [event for stream in streams for event in stream]
    Random(6).shuffle(events)
    store(path, events[:500])
    add(path, events[500:])
    run_state, after = run(path)
    assert run_state.delivered == 990
    assert all(in_chain_order(after, stream) for stream in streams)


def test_small_pages_change_no_order(path: Path, run: Run) -> None:
    streams = [chain(10, seed) for seed in range(5)]
    _, after = run(
        store(path, [event for events in zip(*streams, strict=True) for event in reversed(events)]),
        sizes=PageSizes(run_rows=2, looked_up_rows=2),
    )
    assert all(in_chain_order(after, stream) for stream in streams)


def test_a_missing_event_stops_its_own_stream_only(path: Path, run: Run) -> None:
    broken, whole = chain(10, 1), chain(10, 2)
    run_state, after = run(store(path, [broken[0], *broken[2:], *whole]))
    assert (run_state.delivered, dict(run_state.reasons)) == (9, {"prev missing": 8})
    assert undelivered(after, broken[2:]) == 8
    assert in_chain_order(after, whole)


def test_a_stream_with_three_delivered_goes_on(path: Path, run: Run) -> None:
    stream = chain(10)
    run_state, after = run(store(path, stream, [1, 2, 3, *[None] * 7]))
    assert run_state.delivered == 7
    assert in_chain_order(after, stream)


def test_stored_events_and_new_ones_follow_a_delivered_init(path: Path, run: Run) -> None:
    stream = chain(10)
    store(path, stream[:3])
    add(path, stream[3:])
    run_state, after = run(path)
    assert run_state.delivered == 9
    assert in_chain_order(after, stream)


def test_waiting_events_are_delivered_when_what_they_wait_for_has_come(
    path: Path, run: Run
) -> None:
    one, two = chain(3, 1), chain(3, 2)
    run_state, after = run(store(path, [one[0], two[0], one[2], two[2]]))
    assert (run_state.delivered, undelivered(after, [one[2], two[2]])) == (0, 2)
    add(path, [one[1]])
    run_state, after = run(path)
    assert (run_state.delivered, undelivered(after, [two[2]])) == (2, 1)
    assert in_chain_order(after, one)
    add(path, [two[1]])
    run_state, after = run(path)
    assert run_state.delivered == 2
    assert in_chain_order(after, two)


def test_a_second_run_delivers_nothing_and_changes_nothing(path: Path, run: Run) -> None:
    _, once = run(store(path, chain(10)))
    run_state, twice = run(path)
    assert (run_state.discovered, run_state.delivered) == (0, 0)
    assert twice == once
