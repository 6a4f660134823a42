"""A run that is killed at any moment leaves whole batches, and running again finishes the job."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGKILL
from time import sleep
from typing import Literal

import pytest

from tests.crash.conftest import (
    Children,
    Faults,
    Forked,
    Numbers,
    Program,
    Template,
    arguments,
    await_wal,
    check_rerun,
    check_stopped,
)
from tests.support.oracle import check, deliverable, read
from tests.support.program import end

OPTIONS = ("--batch-rows", "200", "--quiet")
WAL_BYTES = 4_500_000
"""How large the WAL of a whole run becomes where no checkpoint starts it anew."""
WRITES = 20_000
"""A whole run writes, truncates and syncs somewhat more often."""
CHECKPOINTED_WRITES = 580
"""The same of a run of few events that lie parents first, with a checkpoint after each of some 20
batches."""
CHECKPOINT_WRITES = 180
"""And of these, the changes of the database file itself, which only checkpoints make."""
ONE_TRANSACTION = {"change": 165, "main": 50}
"""Of a run that writes all in one transaction; it makes somewhat more of each."""

Kill = Callable[[Children | Forked, Path, Random], None]


def _kill_from_outside(children: Children | Forked, database: Path, rng: Random) -> None:
    """Kill a run after it has written some of its WAL, at whatever it is doing then."""
    with children.start(database, *OPTIONS) as child:
        await_wal(child, database, rng.randrange(1, WAL_BYTES))
        child.kill()


def _kill_in_a_call(program: Program, faults: Faults) -> Kill:
    """Kill a run before a sync, or in a write, of which the disk keeps the first half."""

    def kill(children: Children | Forked, database: Path, rng: Random) -> None:
        chosen = Faults("kill", first=rng.randrange(1, faults.first), calls=faults.calls)
        children.run(database, *OPTIONS, program=program, faults=chosen)

    return kill


IN_ONE_WAL = (_kill_from_outside, _kill_in_a_call("flows", Faults(first=WRITES)))
CHECKPOINTED = (
    _kill_in_a_call("tests.crash.miniature", Faults(first=CHECKPOINTED_WRITES)),
    _kill_in_a_call("tests.crash.miniature", Faults(first=CHECKPOINT_WRITES, calls="main")),
)


def _check_kills(
    kills: tuple[Kill, ...],
    times: int,
    rng: Random,
    template: Template,
    children: Children | Forked,
) -> int:
    """Kill again and again until the job is done, then on a fresh copy.

    Returns how many kills came after the first checkpoint had started.

    The database file is changed by checkpoints alone; the last one, at the end, is that of a job
    which is done.
    """
    before = template.contents
    whole = sum(number is not None for number in before.numbers.values()) + len(deliverable(before))
    database, numbers = template.copy(children.folder), Numbers()
    midway = checkpointed = 0
    for _ in range(times):
        untouched = database.read_bytes()
        rng.choice(kills)(children, database, rng)
        changed = database.read_bytes() != untouched
        earlier, numbers = numbers, check_stopped(before, database, numbers)
        midway += len(earlier) < len(numbers)
        checkpointed += changed and len(numbers) < whole
        if len(numbers) == whole:
            database, numbers = template.copy(children.folder), Numbers()
    check_rerun(before, database, children)
    assert midway >= times // 2, "too few of the kills came while batches were written"
    return checkpointed


def test_any_kill_leaves_whole_batches_and_a_rerun_finishes(
    large: Template, forked: Forked, rng: Random
) -> None:
    assert not _check_kills(IN_ONE_WAL, 10, rng, large, forked)


def test_a_kill_around_checkpoints_leaves_whole_batches_and_a_rerun_finishes(
    small_in_order: Template, forked: Forked, rng: Random
) -> None:
    assert _check_kills(CHECKPOINTED, 8, rng, small_in_order, forked) > 1, (
        "hardly a kill came after a checkpoint had started"
    )


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 20), indirect=True)
def test_a_thousand_kills(large: Template, forked: Forked, rng: Random) -> None:
    _check_kills(IN_ONE_WAL, 100, rng, large, forked)


@pytest.mark.soak
@pytest.mark.parametrize("template", ["small", "small_in_order"])
@pytest.mark.parametrize("rng", range(20, 25), indirect=True)
def test_a_thousand_kills_around_checkpoints(
    template: str, forked: Forked, rng: Random, request: pytest.FixtureRequest
) -> None:
    assert _check_kills(CHECKPOINTED, 100, rng, request.getfixturevalue(template), forked) > 10


def _killed(database: Path, forked: Forked, calls: Literal["change", "main"], at: int) -> bool:
    """Kill a run in the change of this number; False: it made fewer."""
    faults = Faults("kill", first=at, calls=calls)
    ended = forked.run(database, "--quiet", program="tests.crash.miniature", faults=faults)
    assert ended.code in {0, -SIGKILL}, ended
    return ended.code != 0


@pytest.mark.parametrize("calls", ["change", "main"])
def test_a_kill_in_the_one_transaction_or_its_checkpoint_loses_nothing(
    small: Template, forked: Forked, rng: Random, calls: Literal["change", "main"]
) -> None:
    before, most = small.contents, ONE_TRANSACTION[calls]
    kept = set()
    for at in (1, most, rng.randrange(1, most)):
        database = small.copy(forked.folder)
        assert _killed(database, forked, calls, at)
        kept.add(len(check_stopped(before, database)))
        check_rerun(before, database, forked)
    old = sum(number is not None for number in before.numbers.values())
    assert kept <= {old, old + len(deliverable(before))}, "a part of the transaction was kept"
    assert (old in kept) == (calls == "change"), "the kills did not come when they should"


@pytest.mark.parametrize(
    "rng",
    [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))],
    indirect=True,
)
def test_a_kill_while_files_are_read_loses_nothing_and_the_files_go(
    small: Template, children: Children, rng: Random
) -> None:
    before = small.contents
    database, scratch = small.copy(children.folder), children.folder / "scratch"
    scratch.mkdir()
    command = arguments(database, "--quiet", program="tests.crash.miniature")
    child = children.spawn(command, {"TMPDIR": str(scratch)})
    # what a shard lets out goes to a file of its own while it reads the others
    while child.poll() is None and not any(scratch.glob("*/ordered-*.arrow")):
        sleep(0.0005)
    sleep(rng.uniform(0, 0.01))
    child.kill()
    assert end(child).code == -SIGKILL
    left = list(scratch.iterdir())
    assert any(folder.glob("waiting-*.arrow") for folder in left), "no file was read then"
    check_stopped(before, database)
    again = children.spawn(command, {"TMPDIR": str(scratch)})
    assert end(again).code == 0
    assert list(scratch.iterdir()) == []
    check(before, read(database))
