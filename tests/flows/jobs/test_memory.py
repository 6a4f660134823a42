"""`--memory-limit` bounds the anonymous memory of a run, whatever the shape of the streams."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest

from connectors.sqlite import execute
from flows.amounts import MEGABYTE
from flows.synth.database import create_database
from flows.synth.events import Event, data_event, init_event
from tests.benchmarks.measure import measured_run
from tests.support.insert import insert_events
from tests.support.program import ceramic_order, run

INSERTED_EVENTS = 10_000
"""Of one transaction while a database is made."""

SLACK = 1.2
"""How far the peak may lie above the limit: what the allocator holds and has not given back."""

INIT = init_event(1)


def missing(number: int) -> bytes:
    """The CID of an event that no database holds."""
    return b"\x01\x71\x12\x20" + sha256(b"%d" % number).digest()


def streams_of_one() -> Iterator[Event]:
    """Streams of one event each, which wait for ever."""
    number = 0
    while True:
        number += 1
        stream = INIT.stream._replace(cid=missing(number))
        yield data_event(stream, missing(-number), None)


def one_chain(first: bytes = INIT.cid) -> Iterator[Event]:
    """One chain; without its first event nothing of it can be delivered."""
    prev = first
    while True:
        event = data_event(INIT.stream, prev, None)
        prev = event.cid
        yield event


def chain_without_root() -> Iterator[Event]:
    """One chain whose first event is missing."""
    return one_chain(missing(0))


def children_of_one() -> Iterator[Event]:
    """Children of one delivered init event."""
    number = 0
    while True:
        number += 1
        yield data_event(INIT.stream, INIT.cid, {"n": number})


def rejected() -> Iterator[Event]:
    """Events whose root blocks can't be read."""
    for event in children_of_one():
        *others, root = event.blocks
        yield event._replace(blocks=(*others, root._replace(content=b"\xff")))


SHAPES: dict[str, tuple[Callable[[], Iterator[Event]], bool]] = {
    "streams of one event, waiting for ever": (streams_of_one, False),
    "one chain": (one_chain, True),
    "one chain without its root": (chain_without_root, False),
    "children of one parent": (children_of_one, True),
    "all rejected": (rejected, False),
}
"""Events without end, and whether they can be delivered."""


def make(path: Path, events: Iterator[Event], count: int) -> Path:
    """A database with a delivered init event and `count` undelivered events; `path`."""
    with closing(create_database(path)) as connection:
        # nobody else sees it until it is complete
        execute(connection, "PRAGMA synchronous=OFF")
        insert_events(connection, [INIT], [1])
        while count:
            some = list(islice(events, min(count, INSERTED_EVENTS)))
            insert_events(connection, some, [None] * len(some))
            count -= len(some)
    return path


@pytest.fixture(scope="module")
def million(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A million events of one shape: made once for all tests of that shape, and removed then."""
    path = tmp_path_factory.mktemp("million") / "original.db"
    yield make(path, SHAPES[request.param][0](), 1_000_000)
    path.unlink()


def check(path: Path, count: int, limit: int, *, goes: bool) -> None:
    """Run with this limit: all are delivered or none, and the memory stays within it."""
    measured = measured_run("run", path, "--memory-limit", f"{limit // MEGABYTE}MB")
    assert measured.document["discovered"] == count
    assert measured.document["delivered"] == (count if goes else 0)
    assert measured.anonymous_bytes < SLACK * limit
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def check_replay(path: Path, log: Path, limit: int, *options: str) -> None:
    """Replay with this limit: the memory of all processes together stays within it."""
    given = ("--out", str(log), "--memory-limit", f"{limit // MEGABYTE}MB")
    assert measured_run("replay", path, *given, *options).anonymous_bytes < SLACK * limit


@pytest.mark.parametrize(
    ("count", "limit"),
    [(10_000, 150 * MEGABYTE), pytest.param(100_000, 512 * MEGABYTE, marks=pytest.mark.soak)],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_limit_is_kept_at_every_shape(tmp_path: Path, shape: str, count: int, limit: int) -> None:
    events, goes = SHAPES[shape]
    check(make(tmp_path / "node.db", events(), count), count, limit, goes=goes)


def test_a_replay_keeps_the_least_limit_too(tmp_path: Path) -> None:
    path = make(tmp_path / "node.db", children_of_one(), 10_000)
    check_replay(path, tmp_path / "log", 150 * MEGABYTE, "--no-verify")


@pytest.mark.soak
@pytest.mark.parametrize("options", [(), ("--no-verify",)], ids=["verified", "not verified"])
@pytest.mark.parametrize("million", SHAPES, indirect=True)
def test_a_replay_keeps_its_limit_at_every_shape(
    tmp_path: Path, million: Path, options: tuple[str, ...]
) -> None:
    check_replay(million, tmp_path / "log", 512 * MEGABYTE, *options)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("million", "goes"),
    [(shape, goes) for shape, (_, goes) in SHAPES.items()],
    indirect=["million"],
    scope="module",  # so that tests of one shape follow each other
)
def test_a_limit_is_kept_by_a_million_events_of_every_shape(
    tmp_path: Path, million: Path, *, goes: bool
) -> None:
    path = Path(shutil.copy(million, tmp_path / "node.db"))
    check(path, 1_000_000, 512 * MEGABYTE, goes=goes)
    path.unlink()


def test_the_digest_of_a_replay_is_the_same_with_the_least_limit(tmp_path: Path) -> None:
    path = make(tmp_path / "node.db", children_of_one(), 3_000)
    digests = set()
    for limit in ("128MB", "4GB"):
        command = ceramic_order("replay", path, "--out", tmp_path / limit, "--memory-limit", limit)
        document = json.loads(run([*command, "--json", "--quiet", "--no-verify"]).out)
        digests.add(document["order_digest"])
    assert len(digests) == 1
