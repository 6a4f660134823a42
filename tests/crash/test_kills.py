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
from tests.support.program import Ended, end

OPTIONS = ("--batch-rows", "200", "--quiet")
WAL_BYTES = 38_000_000
"""A whole run has a WAL that is somewhat larger, where no checkpoint starts it anew."""
WRITES = 19_500
"""A whole run writes, truncates and syncs somewhat more often."""
CHECKPOINTED_WRITES = 1100
"""The same of a run of few events that lie parents first, with a checkpoint after each of some 20
batches; in random order it is half as much again."""
CHECKPOINT_WRITES = 370
"""And of these, the changes of the database file itself, which only checkpoints make."""
ONE_TRANSACTION = {"change": 165, "main": 50}
"""Of a run that writes all in one transaction; it makes somewhat more of each."""

Kill = Callable[[Forked, Path, Random], Ended]


def _kill_from_outside(forked: Forked, database: Path, rng: Random) -> Ended:
    """Kill a run after it has written some of its WAL, at whatever it is doing then."""
    child = forked.start(database, *OPTIONS)
    await_wal(child, database, rng.randrange(1, WAL_BYTES))
    child.kill()
    return child.end()


def _kill_in_a_call(program: Program, faults: Faults) -> Kill:
    """Kill a run before a sync, or in a write, of which the disk keeps the first half."""

    def kill(forked: Forked, database: Path, rng: Random) -> Ended:
        chosen = Faults("kill", first=rng.randrange(1, faults.first), calls=faults.calls)
        return forked.run(database, *OPTIONS, program=program, faults=chosen)

    return kill


IN_ONE_WAL = (_kill_from_outside, _kill_in_a_call("flows", Faults(first=WRITES)))
CHECKPOINTED = (
    _kill_in_a_call("tests.crash.checkpointing", Faults(first=CHECKPOINTED_WRITES)),
    _kill_in_a_call("tests.crash.checkpointing", Faults(first=CHECKPOINT_WRITES, calls="main")),
)


def _check_kills(
    kills: tuple[Kill, ...], times: int, rng: Random, template: Template, forked: Forked
) -> int:
    """Kill again and again until the job is done, then on a fresh copy.

    Returns how many kills came after the first checkpoint had started.

    The database file is changed by checkpoints alone; the last one, at the end, is that of a job
    which is done.
    """
    before = template.contents
    whole = sum(number is not None for number in before.numbers.values()) + len(deliverable(before))
    database, numbers = template.copy(forked.folder), Numbers()
    killed = midway = checkpointed = 0
    for _ in range(times):
        untouched = database.read_bytes()
        ended = rng.choice(kills)(forked, database, rng)
        assert ended.code in {0, -SIGKILL}, ended
        changed = database.read_bytes() != untouched
        earlier, numbers = numbers, check_stopped(before, database, numbers)
        if ended.code == -SIGKILL:
            killed += 1
            midway += len(earlier) < len(numbers)
            checkpointed += changed and len(numbers) < whole
        if len(numbers) == whole:
            database, numbers = template.copy(forked.folder), Numbers()
    check_rerun(before, database, forked)
    said = f"{killed} of {times} were killed, {midway} of them after a batch"
    print(f"{said}, {checkpointed} after a checkpoint")  # noqa: T201 # shown with a failure
    # a run that has less to do than the one before is often done before its kill comes
    assert killed >= times // 3
    assert midway >= times // 4
    return checkpointed


def test_any_kill_leaves_whole_batches_and_a_rerun_finishes(
    large: Template, forked: Forked, rng: Random
) -> None:
    assert not _check_kills(IN_ONE_WAL, 10, rng, large, forked)


def test_a_kill_around_checkpoints_leaves_whole_batches_and_a_rerun_finishes(
    small_in_order: Template, forked: Forked, rng: Random
) -> None:
    assert _check_kills(CHECKPOINTED, 8, rng, small_in_order, forked) > 2, (
        "hardly a kill came after a checkpoint had started"
    )


READS = 500
"""A whole run reads somewhat more often."""


def test_a_kill_while_it_only_reads_leaves_whole_batches_and_a_rerun_finishes(
    small: Template, forked: Forked, rng: Random
) -> None:
    database, numbers, codes = small.copy(forked.folder), Numbers(), set()
    # the first reads are those of the checks, the claim and the plan
    for at in (1, rng.randrange(2, 20), rng.randrange(20, 100), rng.randrange(100, READS)):
        faults = Faults("kill", first=at, calls="read")
        codes.add(forked.run(database, *OPTIONS, faults=faults).code)
        numbers = check_stopped(small.contents, database, numbers)
    assert codes == {-SIGKILL}
    check_rerun(small.contents, database, forked)


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
    assert _check_kills(CHECKPOINTED, 100, rng, request.getfixturevalue(template), forked) > 25


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
