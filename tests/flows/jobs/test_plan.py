"""The plan: what a run takes is known before it starts, and what can't end is refused."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from connectors.errors import CannotStartError
from connectors.run_state import RunState
from connectors.scratch import Scratch
from connectors.sqlite import connect
from flows.amounts import MEGABYTE, amount
from flows.jobs.job import planned
from flows.jobs.options import RunOptions
from flows.jobs.plan import LEAST_MEMORY, PlanSettings
from flows.jobs.run import dry_run, run
from flows.machine import memory_there_is
from flows.memory import Memory, default_limit, share_out
from flows.synth.database import write_database
from flows.synth.streams import Population
from operators.order import SHARDS
from tests.support.oracle import read
from tests.support.program import ceramic_order
from tests.support.program import run as run_program


class Usage(NamedTuple):
    """What `shutil.disk_usage` says of a disk."""

    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9,000 undelivered events of 10,000, in random order: 20 MB."""
    path = tmp_path_factory.mktemp("plan") / "node.db"
    write_database(path, Population(streams=1000, length=10, seed=1), "shuffled")
    return path


def test_a_plan_says_what_a_run_then_takes(database: Path) -> None:
    result = dry_run(database, RunOptions())
    plan = result.plan
    assert plan.undelivered == result.run_state.discovered == 9_000
    assert plan.database_bytes == database.stat().st_size
    assert plan.memory_limit == default_limit()
    assert plan.spilled_bytes == 0
    assert plan.batch_rows is None
    assert str(plan).startswith("9,000 undelivered events, ")


def test_the_wal_is_at_most_as_large_as_the_plan_says(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(database.read_bytes())
    sizes: list[int] = []

    def largest(run_state: RunState) -> AbstractContextManager[None]:
        # the WAL keeps its size until the last connection is closed
        assert run_state.delivered == 0
        return closing_with(lambda: sizes.append((tmp_path / "node.db-wal").stat().st_size))

    plan = run(path, RunOptions(watch=largest)).plan
    assert 100 * 4_120 < sizes[0] <= plan.wal_bytes


@contextmanager
def closing_with(finish: Callable[[], None]) -> Iterator[None]:
    yield
    finish()


def test_waiting_events_that_do_not_fit_are_planned_to_go_to_files(
    database: Path, tmp_path: Path
) -> None:
    few = Memory(limit=10**9, check=10**6, sink=0, order=8000)
    plan = planned(database, RunOptions(shares=few), connect, Scratch(tmp_path))
    assert plan.spilled_bytes == 9_000 * 130
    assert f"1.2 MB to files in {tmp_path}" in str(plan)


@pytest.mark.parametrize(("free", "batch_rows"), [(100 * MEGABYTE, None), (0, 0)])
def test_too_little_disk_makes_smaller_transactions_or_is_refused(
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    batch_rows: int | None,
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(free, 0, free))
    if batch_rows is None:
        plan = planned(database, RunOptions(), connect, Scratch(tmp_path))
        assert plan.batch_rows is None
        return
    before = read(database)
    with pytest.raises(CannotStartError, match=r"has `0` bytes free, too little for the WAL"):
        planned(database, RunOptions(), connect, Scratch(tmp_path))
    assert planned(database, RunOptions(), connect, Scratch(tmp_path), must_end=False)
    with pytest.raises(CannotStartError, match=r"Make room on that disk\.$"):
        run(database, RunOptions())
    assert read(database) == before


def test_a_disk_with_room_for_a_part_of_the_wal_gets_transactions_that_fit(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 500 * 4_120
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(free, 0, free))
    options = RunOptions(plan=PlanSettings(least_batch_rows=100))
    plan = planned(database, options, connect, Scratch(tmp_path))
    assert plan.batch_rows == 400
    assert plan.wal_bytes <= free


def test_too_little_memory_is_refused_with_the_number_that_is_enough(database: Path) -> None:
    before = database.read_bytes()
    ended = run_program(ceramic_order("run", database, "--memory-limit", "99MB"), code=2)
    assert ended.err == (
        "Error: `--memory-limit` allows `99MB` of memory, which is too little. Nothing was "
        f"changed. Give it at least `{LEAST_MEMORY // MEGABYTE}MB`.\n"
    )
    assert database.read_bytes() == before


def test_a_large_run_is_timed_before_it_starts(database: Path, tmp_path: Path) -> None:
    options = RunOptions(plan=PlanSettings(sampled_from=1))
    plan = planned(database, options, connect, Scratch(tmp_path))
    assert plan.seconds is not None
    assert plan.seconds > 9_000 * 6 / 1e6


@pytest.mark.parametrize("text", ["", "5", "GB", "-1GB", "1 petabyte", "1e9MB"])
def test_what_is_no_amount_of_memory_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no amount of memory"):
        amount(text)


def test_amounts_of_memory_have_units() -> None:
    assert [amount(text) for text in ("500MB", "1.5 gb", "4GiB")] == [
        5 * 10**8,
        15 * 10**8,
        1 << 32,
    ]


@pytest.mark.parametrize("limit", [128 * MEGABYTE, 512 * MEGABYTE, 4_000 * MEGABYTE])
def test_the_shares_together_are_less_than_the_limit(limit: int) -> None:
    memory = share_out(limit)
    assert 0 < memory.order + memory.sink + memory.check < limit
    assert default_limit() <= memory_there_is()


def test_a_higher_limit_does_not_keep_more_waiting_events_out_of_files() -> None:
    memory, larger = share_out(4_000 * MEGABYTE), share_out(8_000 * MEGABYTE)
    assert memory.shard == larger.shard < memory.order // SHARDS
    # what follows has no files
    assert larger.order > memory.order
