"""A run that is killed at any moment leaves whole batches, and running again finishes the job."""

from pathlib import Path
from random import Random

import pytest

from tests.crash.conftest import Children, Faults, Numbers, Template, await_wal, check_rerun, check_stopped, end
from tests.oracle import deliverable

OPTIONS = ("--batch-rows", "200", "--quiet")
LOG_BYTES = 4_500_000
"""How large the write-ahead log of a whole run becomes: a checkpoint begins it anew."""
WRITES = 20_000
"""A whole run writes, truncates and syncs somewhat more often."""


def _kill_from_outside(children: Children, database: Path, rng: Random) -> None:
    """Kill a run after it has written some of its log, at whatever it is doing then."""
    child = children.start(database, *OPTIONS, "--workers", rng.choice("12"))
    await_wal(child, database, rng.randrange(1, LOG_BYTES))
    child.kill()
    end(child)


def _kill_in_a_write(children: Children, database: Path, rng: Random) -> None:
    """Kill a run in the middle of one of its writes, of which the disk keeps the first half."""
    children.run(database, *OPTIONS, "--workers", rng.choice("12"), faults=Faults("kill", first=rng.randrange(1, WRITES)))


def _check_kills(kills: int, rng: Random, large: Template, children: Children) -> None:
    """Kill again and again until the job is done, then on a fresh copy."""
    before = large.contents
    whole = sum(number is not None for number in before.numbers.values()) + len(deliverable(before))
    database, numbers = large.copy(children.folder), Numbers()
    midway = 0
    for _ in range(kills):
        rng.choice([_kill_from_outside, _kill_in_a_write])(children, database, rng)
        earlier, numbers = numbers, check_stopped(before, database, numbers)
        midway += len(earlier) < len(numbers)
        if len(numbers) == whole:
            database, numbers = large.copy(children.folder), Numbers()
    check_rerun(before, database, children)
    assert midway >= kills // 2, "too few of the kills came while batches were written"


def test_any_kill_leaves_whole_batches_and_a_rerun_finishes(large: Template, children: Children, rng: Random) -> None:
    _check_kills(40, rng, large, children)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 20), indirect=True)
def test_a_thousand_kills(large: Template, children: Children, rng: Random) -> None:
    _check_kills(100, rng, large, children)
