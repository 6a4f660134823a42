"""Databases that a node wrote: everything in them can be delivered, and is."""

import shutil
from pathlib import Path

import pytest

from connectors.page_sizes import PageSizes
from operators.order import OrderSettings
from tests.support.job import deliver
from tests.support.oracle import check, read
from tests.support.snapshots import SNAPSHOTS

NAMES = {"node-cid.db": 444, "node-seq.db": 517, "node-fork.db": 614}
"""How many events of each are undelivered."""

pytestmark = pytest.mark.skipif(
    not SNAPSHOTS.is_dir(), reason="the snapshots are not part of the repository"
)


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copyfile(SNAPSHOTS / request.param, tmp_path / request.param)
    return tmp_path / str(request.param)


@pytest.mark.parametrize(
    ("partitions", "batch_rows", "check_node"), [(1, 100_000, True), (4, 50, False), (16, 20, True)]
)
def test_every_event_of_a_snapshot_is_delivered(
    path: Path, workers: int, partitions: int, batch_rows: int, *, check_node: bool
) -> None:
    before = read(path)
    run_state = deliver(
        path, workers=workers, partitions=partitions, batch_rows=batch_rows, check_node=check_node
    )
    assert len(check(before, read(path))) == run_state.delivered == NAMES[path.name]
    assert None not in read(path).numbers.values()


def test_a_second_run_delivers_nothing(path: Path, workers: int) -> None:
    deliver(path, workers=workers)
    once = read(path)
    again = deliver(path, workers=workers)
    assert (again.discovered, again.delivered, again.reasons.total()) == (0, 0, 0)
    assert read(path) == once


def test_small_pages_settles_and_generations_change_nothing(path: Path, workers: int) -> None:
    before = read(path)
    few = OrderSettings(settle_rows=3, recent_rows=5)
    sizes = PageSizes(run_rows=7, looked_up_rows=7)
    deliver(path, workers=workers, shards=2, batch_rows=9, settings=few, sizes=sizes)
    assert len(check(before, read(path))) == NAMES[path.name]
