"""The main flow: however it is cut, the same events are delivered, parents first."""

from contextlib import closing
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import CannotStartError
from connectors.page_sizes import PageSizes
from connectors.sqlite import execute
from flows.init_scan import ScanSettings
from flows.lookups import LookUpSettings
from flows.order import get_flow
from flows.synth.database import create_database
from flows.synth.events import block, build_event, time_event
from operators.order import OrderSettings
from operators.spill import SpillSettings
from tests.support.job import chain, deliver, store
from tests.support.oracle import check, read
from tests.support.strategies import Forest, forests

_names = count()


class Cuts(NamedTuple):
    """How a run may cut its work; nothing of it may change what is delivered."""

    workers: int
    partitions: int
    shards: int
    batch_rows: int
    page_rows: int
    settle_rows: int
    recent_rows: int
    shard_bytes: int | None
    """Above it a shard goes to files; None: it never does."""
    scan_step: int | None
    """Rows that the scan of the delivered inits is behind the source, which alone is asked of
    parents until it has ended; None: they are looked up."""

    @property
    def look_ups(self) -> LookUpSettings:
        """Where the flow learns of delivered parents."""
        if self.scan_step is None:
            return LookUpSettings()
        scan = ScanSettings(0.0, rows=7, step=self.scan_step, wait_seconds=0.001)
        return LookUpSettings(asked_before_scan=0, scan=scan)

    def spill(self, folder: Path) -> SpillSettings | None:
        """When shards go to files in this folder."""
        if self.shard_bytes is None:
            return None

        def made() -> Path:
            folder.mkdir(exist_ok=True)
            return folder

        return SpillSettings(made, self.shard_bytes, partitions=3, flush_rows=5)


cuts = st.builds(
    Cuts,
    workers=st.sampled_from([1, 2]),
    partitions=st.integers(1, 5),
    shards=st.integers(1, 5),
    batch_rows=st.integers(1, 40),
    page_rows=st.integers(1, 40),
    settle_rows=st.integers(1, 40),
    recent_rows=st.integers(1, 10),
    shard_bytes=st.none() | st.integers(0, 3_000),
    scan_step=st.none() | st.integers(1, 40),
)


@settings(max_examples=30, deadline=None, print_blob=True)
@given(forest=forests(), cuts=cuts, check_node=st.booleans())
def test_exactly_the_deliverable_events_are_delivered(
    tmp_path_factory: pytest.TempPathFactory, forest: Forest, cuts: Cuts, *, check_node: bool
) -> None:
    check_order(tmp_path_factory.getbasetemp(), forest, cuts, check_node=check_node)


@pytest.mark.soak
@settings(max_examples=1000, deadline=None, print_blob=True)
@given(forest=forests(), cuts=cuts, check_node=st.booleans())
def test_exactly_the_deliverable_events_of_many_databases_are_delivered(
    tmp_path_factory: pytest.TempPathFactory, forest: Forest, cuts: Cuts, *, check_node: bool
) -> None:
    check_order(tmp_path_factory.getbasetemp(), forest, cuts, check_node=check_node)


def check_order(folder: Path, forest: Forest, cuts: Cuts, *, check_node: bool) -> None:
    """Check what a run and a second run deliver, however the first one is cut."""
    path = forest.store(folder / f"forest-{next(_names)}.db")
    before = read(path)
    run_state = deliver(
        path,
        workers=cuts.workers,
        partitions=cuts.partitions,
        shards=cuts.shards,
        batch_rows=cuts.batch_rows,
        check_node=check_node,
        settings=OrderSettings(settle_rows=cuts.settle_rows, recent_rows=cuts.recent_rows),
        spill=cuts.spill(folder / f"spill-{next(_names)}"),
        sizes=PageSizes(run_rows=cuts.page_rows, looked_up_rows=cuts.page_rows),
        look_ups=cuts.look_ups,
    )
    after = read(path)
    assert run_state.delivered == len(
        check(before, after, forest.unservable if check_node else frozenset())
    )
    assert run_state.discovered == run_state.delivered + run_state.reasons.total()
    again = deliver(path, check_node=check_node)
    assert again.delivered == 0
    assert again.reasons == run_state.reasons
    assert read(path) == after


def test_another_database_is_refused(tmp_path: Path) -> None:
    with closing(create_database(tmp_path / "node.db")) as connection:
        execute(connection, "DROP TABLE ceramic_one_event_block")
    with pytest.raises(CannotStartError, match="table `ceramic_one_event_block` is missing"):
        get_flow(str(tmp_path / "node.db"))
    with pytest.raises(CannotStartError, match="No such file"):
        get_flow(str(tmp_path / "missing.db"))
    assert [file.name for file in tmp_path.iterdir()] == ["node.db"]


def test_events_in_a_circle_are_reported_and_stop_nothing_else(
    tmp_path: Path, workers: int
) -> None:
    """Nobody can make one, because a CID is a hash of its prev; a damaged database can hold one."""
    init, *others = chain(4)
    names = [block(bytes([at])).cid for at in range(3)]
    circle = [
        build_event(
            init.stream,
            "time",
            prev,
            (time_event(init.stream, prev).blocks[0]._replace(multihash=cid[2:]),),
        )
        for cid, prev in zip(names, [names[1], names[2], names[0]], strict=True)
    ]
    below = time_event(init.stream, names[0])
    path = store(tmp_path / "node.db", [below, *circle, init, *others])
    before = read(path)
    run_state = deliver(path, workers=workers, check_node=False)
    assert run_state.reasons == {"cycle": 4}
    assert len(check(before, read(path))) == 3
