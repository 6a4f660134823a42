"""However the same events are ordered, the same are delivered, with the same digest.

The oracle accepts each order. One process has made the first one.
"""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from connectors.sqlite import connect, scalar
from tests.flows.cluster.conftest import Sample
from tests.support import program
from tests.support.cluster import PATIENCE, cluster, order_of
from tests.support.following import INGEST, UNDELIVERED, following, stop, until
from tests.support.other_programs import execute_elsewhere
from tests.support.program import ceramic_order, end, python, start

pytestmark = pytest.mark.soak

LEFT_BEFORE = "DELETE FROM ceramic_one_event WHERE delivered IS NULL"


def run(path: Path) -> None:
    program.run(ceramic_order("run", path, "--quiet"))


def run_killed(path: Path) -> None:
    rng = Random(1)
    for _ in range(5):
        child = start(ceramic_order("run", path, "--quiet", "--batch-rows", 500))
        time.sleep(rng.uniform(0.5, 3))
        child.send_signal(SIGKILL)
        end(child)
    run(path)


def bytewax(module: str, *options: str) -> Callable[[Path], None]:
    def order(path: Path) -> None:
        flow = order_of(path, wait_seconds=PATIENCE)
        # `-p` has fixed ports: in a network of its own nobody else has them
        alone = 'ip link set lo up && exec "$@"'
        command = python("-m", module, flow, *options)
        program.run(["unshare", "-rn", "sh", "-c", alone, "sh", *command])

    return order


def processes(count: int) -> Callable[[Path], None]:
    """The last of them reads a copy."""

    def order(path: Path) -> None:
        copy = path.with_name("copy.db")
        copy.write_bytes(path.read_bytes())
        ended = cluster([path] * (count - 1) + [copy])
        assert [each.code for each in ended] == [0] * count, ended

    return order


def follow(path: Path, kills: int = 0) -> None:
    """Nothing is there, and all rows come in random order while it is followed."""
    whole = path.with_name("whole.db")
    whole.write_bytes(path.read_bytes())
    execute_elsewhere(path, LEFT_BEFORE)
    rng, seconds = Random(2), 20
    ingest = start(python(INGEST, path, whole, 3, seconds))
    for _ in range(kills):
        with following(path) as child:
            time.sleep(seconds / (kills + 1) * rng.random())
            child.send_signal(SIGKILL)
    with following(path) as child:
        assert end(ingest).code == 0
        until(path, UNDELIVERED, left_by_one_process(whole))
        stop(child)


def left_by_one_process(whole: Path) -> int:
    run(whole)
    with connect(whole) as connection:
        return int(scalar(connection, UNDELIVERED))


WAYS: dict[str, Callable[[Path], None]] = {
    "one process": run,
    "one process, killed": run_killed,
    "one process of Bytewax's": bytewax("bytewax.run"),
    "two workers": bytewax("bytewax.run", "-w", "2"),
    "two workers, small epochs": bytewax("bytewax.run", "-w", "2", "-s", "0"),
    "two processes": processes(2),
    "three processes": processes(3),
    "-p 2": bytewax("bytewax.testing", "-p", "2"),
    "-p 2 -w 2": bytewax("bytewax.testing", "-p", "2", "-w", "2"),
    "follow": follow,
    "follow, killed": lambda path: follow(path, kills=3),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_events_are_ordered_the_same_is_delivered(
    way: str, sample: Sample, tmp_path: Path
) -> None:
    if not program.can("unshare", "-rn", "true"):
        pytest.skip("this user can't make a network")
    path = sample.copy(tmp_path / "here")
    WAYS[way](path)
    digest = sample.digest_elsewhere if "follow" in way else sample.digest
    assert digest(path) == sample.wanted
