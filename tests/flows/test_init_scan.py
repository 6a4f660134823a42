"""The scan of the delivered init events stays behind the source, and knows all at its end."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from connectors.run_state import RunState
from connectors.sqlite import connect
from flows.init_scan import InitScan, ScanSettings
from flows.synth.events import data_event, init_event
from operators.delivered import DeliveredInits
from tests.support.job import store

INITS = [init_event(seed) for seed in range(100)]
CIDS = pa.array([init.cid for init in INITS], pa.binary())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A hundred delivered inits, then ten undelivered events."""
    events = [data_event(init.stream, init.cid, 1) for init in INITS[:10]]
    numbers: list[int | None] = [*range(1, 101), *[None] * 10]
    return store(tmp_path / "node.db", [*INITS, *events], numbers)


def scan_of(path: Path, read_to: Callable[[], int | None] | None) -> InitScan:
    return InitScan(
        path,
        connect,
        DeliveredInits(1 << 20),
        ScanSettings(0.0, rows=30, step=10, wait_seconds=0.001),
        has_init_cid=lambda: True,
        read_to=read_to,
        counted_hidden=lambda _: None,
    )


def held(scan: InitScan) -> tuple[int, bool]:
    are_inits, is_all_known = scan.holds(CIDS, may_wait=False)
    assert are_inits.tolist() == sorted(are_inits.tolist(), reverse=True)
    return int(are_inits.sum()), is_all_known


def wait_until_held(scan: InitScan, inits: int) -> None:
    deadline = time.monotonic() + 30
    while held(scan)[0] < inits and time.monotonic() < deadline:
        time.sleep(0.001)


def test_the_scan_goes_as_far_as_every_partition_has_read(path: Path) -> None:
    state = RunState()
    state.reach_rowid("0/2", -1)
    state.reach_rowid("1/2", -1)
    with closing(scan_of(path, state.read_to)) as scan:
        state.reach_rowid("0/2", 77)
        assert held(scan) == (0, False)
        state.reach_rowid("1/2", 45)
        wait_until_held(scan, 45)
        # fewer than a step is not worth a statement
        state.reach_rowid("1/2", 50)
        time.sleep(0.05)
        assert held(scan) == (45, False)
        state.end_partition("1/2")
        # 75 in statements of 30 rows; two more are fewer than a step
        wait_until_held(scan, 75)
        assert held(scan) == (75, False)
        state.end_partition("0/2")
        are_inits, is_all_known = scan.holds(CIDS, may_wait=True)
        assert is_all_known
        assert are_inits.all()


def test_a_process_that_reads_no_partition_scans_when_it_is_asked(path: Path) -> None:
    with closing(scan_of(path, RunState().read_to)) as scan:
        assert not scan.done.done()
        are_inits, is_all_known = scan.holds(CIDS, may_wait=True)
        assert is_all_known
        assert are_inits.all()


def test_without_a_source_the_scan_does_not_wait(path: Path) -> None:
    with closing(scan_of(path, None)) as scan:
        assert scan.done.result()
        assert held(scan) == (100, True)


def test_a_scan_that_waits_for_the_source_can_be_closed(path: Path) -> None:
    state = RunState()
    state.reach_rowid("0/1", -1)
    scan = scan_of(path, state.read_to)
    scan.close()
    assert not scan.done.result()
