"""Power loss: of all that a run wrote, only what was synced before is certain to be there.

The writes of a real run are recorded below SQLite. For moments of it, the files are built as they
may be found after a power loss: every write that was not yet synced is there, or not, or only some
of its sectors are.
"""

from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.crash.conftest import Children, Forked, Template, check_rerun, check_stopped
from tests.crash.recorded import Disk, Fate, Recorded, is_frame, record
from tests.support.oracle import check, deliverable, read


@pytest.fixture(scope="module")
def in_one_wal(
    small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path
) -> Recorded:
    """A run of some 40 batches, with one checkpoint at the end."""
    recorded = record(
        small, tmp_path_factory.mktemp("recorded"), faults_library, "--batch-rows", "20"
    )
    assert not recorded.restarts
    return recorded


@pytest.fixture(scope="module")
def checkpointed(
    small_in_order: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path
) -> Recorded:
    """A run with a checkpoint after each batch."""
    folder = tmp_path_factory.mktemp("checkpointed")
    recorded = record(
        small_in_order,
        folder,
        faults_library,
        "--batch-rows",
        "60",
        program="tests.crash.checkpointing",
    )
    midway = [at for at in recorded.checkpoints if at < recorded.commits[-1]]
    # of at most 50 events each; a few checkpoints may find that something is being read
    assert len(recorded.commits) > len(deliverable(small_in_order.contents)) // 50
    assert len(midway) > len(recorded.commits) // 2, "hardly a batch had its checkpoint"
    assert len(recorded.restarts) > len(recorded.commits) // 2, "the WAL was not started anew"
    return recorded


@pytest.fixture(scope="module")
def grown(
    small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path
) -> Recorded:
    """A run in random order, with a checkpoint whenever the WAL has grown by some batches."""
    recorded = record(
        small,
        tmp_path_factory.mktemp("grown"),
        faults_library,
        "--batch-rows",
        "20",
        program="tests.crash.miniature",
    )
    assert len(recorded.restarts) > 2, "the WAL was not started anew"
    assert len(recorded.commits) > 2 * len(recorded.checkpoints), (
        "there was a checkpoint after every batch"
    )
    return recorded


RUNS = ("in_one_wal", "checkpointed", "grown")


@pytest.fixture(params=RUNS)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """Each of these runs."""
    run: Recorded = request.getfixturevalue(request.param)
    return run


def _check_moments(
    recorded: Recorded, rng: Random, moments: int, children: Children | Forked
) -> None:
    before = recorded.template.contents
    # half of the moments are around the ends of checkpoints, where the WAL is started anew
    turns = [
        at + near for at in [*recorded.checkpoints, *recorded.restarts] for near in range(-3, 4)
    ]
    turns = sorted({at for at in turns if 0 <= at < len(recorded.changes)})
    chosen = {
        *rng.sample(range(len(recorded.changes)), moments // 2),
        *rng.sample(turns, min(len(turns), moments // 2)),
    }
    rerun = set(rng.sample(sorted(chosen), max(1, moments // 20)))
    disk = Disk(recorded.template.path.read_bytes())
    for moment, change in enumerate(recorded.changes):
        disk.change(change)
        if moment in chosen:
            fates: list[Fate] = rng.choice(
                [["lost"], ["lost", "written"], ["lost", "torn"], ["torn", "written"]]
            )
            database = disk.after_power_loss(
                partial(rng.choice, fates), rng.randrange, children.folder
            )
            check_stopped(before, database)
            if moment in rerun:
                check_rerun(before, database, children)


def test_a_power_loss_at_any_moment_leaves_whole_batches_and_a_rerun_finishes(
    recorded: Recorded, children: Children, rng: Random
) -> None:
    _check_moments(recorded, rng, 30, children)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 15), indirect=True)
def test_power_losses_at_a_thousand_moments(
    recorded: Recorded, forked: Forked, rng: Random
) -> None:
    _check_moments(recorded, rng, min(1000, len(recorded.changes)), forked)


def test_a_power_loss_after_the_end_loses_nothing(recorded: Recorded, tmp_path: Path) -> None:
    check(
        recorded.template.contents,
        read(recorded.disk().after_power_loss(lambda: "lost", lambda _: 0, tmp_path)),
    )


def test_the_recorded_changes_are_all_there_were(recorded: Recorded, tmp_path: Path) -> None:
    rebuilt = recorded.disk().after_power_loss(lambda: "written", lambda sectors: sectors, tmp_path)
    assert rebuilt.read_bytes() == recorded.database.read_bytes()


def test_a_batch_before_a_checkpoint_is_never_lost(checkpointed: Recorded, tmp_path: Path) -> None:
    before = checkpointed.template.contents
    for checkpoint in checkpointed.checkpoints:
        disk = checkpointed.disk(checkpoint + 1)
        kept = check_stopped(before, disk.after_power_loss(lambda: "lost", lambda _: 0, tmp_path))
        assert kept == check_stopped(
            before, disk.after_power_loss(lambda: "written", lambda sectors: sectors, tmp_path)
        )


def _events_lost(recorded: Recorded, folder: Path) -> int:
    """How many events a power loss makes undelivered again at most.

    It comes when the next batch is started, and nothing that was not synced is kept.
    """
    before = recorded.template.contents
    disk, committed, lost = Disk(recorded.template.path.read_bytes()), 0, 0
    started_after = 0
    commits = set(recorded.commits)
    for at, change in enumerate(recorded.changes):
        if is_frame(change) and started_after < committed:
            started_after = committed
            kept = len(
                check_stopped(before, disk.after_power_loss(lambda: "lost", lambda _: 0, folder))
            )
            written = len(
                check_stopped(
                    before,
                    disk.after_power_loss(lambda: "written", lambda sectors: sectors, folder),
                )
            )
            lost = max(lost, written - kept)
        disk.change(change)
        committed += at in commits
    assert committed > 30
    return lost


def test_a_durable_run_has_synced_a_batch_before_it_starts_the_next(
    small: Template, faults_library: Path, tmp_path: Path
) -> None:
    assert (
        _events_lost(
            record(small, tmp_path, faults_library, "--batch-rows", "20", "--durable"), tmp_path
        )
        == 0
    )


def test_without_durable_the_newest_batches_may_be_lost(
    in_one_wal: Recorded, tmp_path: Path
) -> None:
    assert _events_lost(in_one_wal, tmp_path) > 0
