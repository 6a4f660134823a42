"""A path of any number of steps is followed, in a time that grows with their number alone."""

import time
from pathlib import Path

import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import Block, Event, Witness, anchor, block, data_event, time_event
from flows.verify.verify import verify
from tests.support.world import WORLD, store

PREV = WORLD["leaf"].cid
STREAM = WORLD["init"].stream
OTHER = block(b"elsewhere").cid


def anchored(steps: int, last: str = "1", left_out: int | None = None) -> Event:
    """A time event of a tree that is a chain of so many nodes, the next always at index 0."""
    nodes: list[Block] = []
    link = PREV
    for step in range(steps):
        links: list[DagCborTypes] = [CID(link), CID(OTHER)] if step else [CID(OTHER), CID(link)]
        nodes.append(block(encode_dag_cbor(links)))
        link = nodes[-1].cid
    proof = anchor([link], depth=0)[0].proof
    path = "/".join([*["0"] * (steps - 1), last])
    listed = [node for step, node in enumerate(nodes) if step != left_out]
    return time_event(STREAM, PREV, Witness(proof, path, tuple(reversed(listed))))


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 300])
def test_a_path_that_leads_to_its_prev_is_good(tmp_path: Path, steps: int) -> None:
    assert verify(store(tmp_path / "db", more=[(anchored(steps), 1000)])).failed == set()


@pytest.mark.parametrize("last", ["0", "2", "-1", "", "x", "9" * 30])
def test_a_long_path_that_leads_elsewhere_is_found(tmp_path: Path, last: str) -> None:
    event = anchored(100, last)
    assert verify(store(tmp_path / "db", more=[(event, 1000)])).failed == {"witness-proves-prev"}


@pytest.mark.parametrize("last", ["+1", "001", "+" + "0" * 30 + "1"])
@pytest.mark.parametrize("steps", [3, 100])
def test_an_index_may_have_a_sign_and_zeros(tmp_path: Path, steps: int, last: str) -> None:
    event = anchored(steps, last)
    assert verify(store(tmp_path / "db", more=[(event, 1000)])).failed == set()


def test_a_node_of_a_long_path_that_is_not_there_is_found(tmp_path: Path) -> None:
    event = anchored(100, left_out=50)
    assert verify(store(tmp_path / "db", more=[(event, 1000)])).failed == {"block-present"}


@pytest.mark.parametrize(("steps", "is_left"), [(1024, True), (1025, False)])
def test_a_path_that_is_too_long_for_a_run_is_not_called_left(
    tmp_path: Path, steps: int, is_left: bool
) -> None:
    event = anchored(steps)
    below = data_event(STREAM, event.cid, {"n": 1})
    undelivered = store(tmp_path / "db", more=[(event, None), (below, None)])
    assert verify(undelivered).failed == ({"nothing-left"} if is_left else set())
    # a node serves it
    assert verify(store(tmp_path / "delivered", more=[(event, 1000)])).failed == set()


@pytest.mark.soak
def test_twice_the_steps_take_no_more_than_four_times_as_long(tmp_path: Path) -> None:
    seconds = []
    for steps in (6_400, 12_800):
        database = store(tmp_path / str(steps), more=[(anchored(steps), 1000)])
        started = time.monotonic()
        assert verify(database).is_good
        seconds.append(time.monotonic() - started)
    assert seconds[1] < 4 * seconds[0]
