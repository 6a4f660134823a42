"""The sink: numbers in whole transactions, and nobody else's."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from bytewax.outputs import StatefulSinkPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import InterruptedRunError
from connectors.run_state import RunState
from connectors.sink import INIT_KINDS, DeliveredSink, DryRunSink
from connectors.sqlite import connect, execute
from operators.schemas import DATA, INIT, LINKS, UNSIGNED_INIT
from tests.support.job import chain, store
from tests.support.oracle import read

ANOTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.close()
"""
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def batch(rowids: Sequence[int], inits: int = 0) -> pa.RecordBatch:
    rows = [
        {
            "rowid": rowid,
            "cid": b"%d" % rowid,
            "stream": b"s",
            "prev": None if at < inits else b"p",
            "kind": INIT if at < inits else DATA,
        }
        for at, rowid in enumerate(rowids)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=LINKS)


def numbers(path: Path) -> dict[int, int | None]:
    """For each event `delivered`, by rowid: the events of `chain` lie in its order."""
    found = read(path).numbers
    return {rowid: found[event.cid] for rowid, event in enumerate(chain(20), start=1)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Twenty events; the first has number 5, and no other has any."""
    return store(tmp_path / "node.db", chain(20), [5, *[None] * 19])


@contextmanager
def writer_of(
    path: Path, run_state: RunState, batch_rows: int = 4, resume_state: int | None = None
) -> Iterator[StatefulSinkPartition[pa.RecordBatch, int]]:
    writer = DeliveredSink(path, batch_rows, run_state).build_part("sink", "db", resume_state)
    with closing(writer):
        yield writer


def in_another_process(path: Path, sql: str) -> None:
    # foreign keys are off there, so rows can be deleted
    subprocess.run([sys.executable, "-c", ANOTHER, str(path), sql], check=True)


def test_numbers_go_on_above_the_highest_in_the_order_of_arrival(path: Path) -> None:
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([9, 2], inits=1), batch([7])])
        writer.write_batch([batch([3, 11, 4])])
        writer.snapshot()
    assert {rowid: number for rowid, number in numbers(path).items() if number} == {
        1: 5,
        9: 6,
        2: 7,
        7: 8,
        3: 9,
        11: 10,
        4: 11,
    }
    assert (
        run_state.delivered,
        run_state.inits,
        run_state.first_number,
        run_state.last_number,
    ) == (6, 1, 6, 11)


def test_the_first_number_of_an_empty_count_is_one(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(20), [None] * 20)
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([1])])
        writer.snapshot()
    assert numbers(path)[1] == 1


@settings(max_examples=15, deadline=None, print_blob=True)
@given(
    st.permutations(range(2, 21)),
    st.lists(st.integers(0, 19), max_size=6),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(1, 25),
)
def test_batches_are_cut_at_their_size_and_at_each_epoch(
    tmp_path_factory: pytest.TempPathFactory,
    rowids: list[int],
    cuts: list[int],
    epochs: list[bool],
    batch_rows: int,
) -> None:
    path = store(tmp_path_factory.mktemp("sink") / "node.db", chain(20), [5, *[None] * 19])
    run_state, expected, waiting = RunState(), 0, 0
    bounds = sorted({0, *cuts, 19})
    with writer_of(path, run_state, batch_rows) as writer:
        for start, end, ends_epoch in zip(bounds, bounds[1:], [*epochs, True], strict=False):
            writer.write_batch([batch(rowids[start:end])])
            waiting += end - start
            expected, waiting = expected + waiting // batch_rows, waiting % batch_rows
            if ends_epoch or end == 19:
                writer.snapshot()
                expected, waiting = expected + bool(waiting), 0
                assert run_state.delivered == end
    assert run_state.batches == expected
    assert sorted(number for number in numbers(path).values() if number) == list(range(5, 25))
    assert [numbers(path)[rowid] for rowid in rowids] == list(range(6, 25))


def test_after_a_resume_events_that_come_again_are_passed_over(path: Path) -> None:
    with writer_of(path, RunState()) as before_the_stop:
        before_the_stop.write_batch([batch([2, 3, 4, 5])])
        snapshot = before_the_stop.snapshot()
    run_state = RunState()
    with writer_of(path, run_state, resume_state=snapshot) as resumed:
        resumed.write_batch([batch([4, 5, 7, 6]), batch([2, 3])])
        resumed.snapshot()
    assert [numbers(path)[rowid] for rowid in range(2, 9)] == [6, 7, 8, 9, 11, 10, None]
    assert run_state.delivered == 2


def test_closing_writes_nothing(path: Path) -> None:
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([2, 3])])
    assert numbers(path)[2] is None


def test_somebody_else_who_numbers_events_is_noticed(path: Path) -> None:
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([2, 3, 4, 5])])
        writer.snapshot()
        in_another_process(path, "UPDATE ceramic_one_event SET delivered = 100 WHERE rowid = 20")
        writer.write_batch([batch([6, 7, 8, 9])])
        with pytest.raises(
            InterruptedRunError, match=r"the highest number is `100`, this run wrote `9` last"
        ):
            writer.snapshot()
    assert isinstance(run_state.failure, InterruptedRunError)
    assert {rowid: number for rowid, number in numbers(path).items() if number} == {
        1: 5,
        2: 6,
        3: 7,
        4: 8,
        5: 9,
        20: 100,
    }


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ceramic_one_event SET delivered = 1 WHERE rowid = 7",
        "DELETE FROM ceramic_one_event WHERE rowid = 7",
    ],
)
def test_an_event_that_is_no_longer_undelivered_undoes_its_batch(path: Path, sql: str) -> None:
    in_another_process(path, sql)
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([6, 7, 8])])
        with pytest.raises(InterruptedRunError, match=r"Of `3` events `2` were still undelivered"):
            writer.snapshot()
    assert run_state.delivered == 0
    assert read(path).highest == 5


def test_a_write_that_fails_undoes_its_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.sqlite.BUSY_SECONDS", 0.1)
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([2, 3])])
        writer.snapshot()
        with subprocess.Popen(
            [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            writer.write_batch([batch([4])])
            with pytest.raises(InterruptedRunError, match=r"failed: database is locked"):
                writer.snapshot()
            other.communicate()
    assert numbers(path)[4] is None


def test_a_statement_that_fails_midway_undoes_its_batch(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            "CREATE TRIGGER refuse BEFORE UPDATE ON ceramic_one_event WHEN new.rowid = 8 BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([7, 8, 9])])
        with pytest.raises(InterruptedRunError, match="refused"):
            writer.snapshot()
    assert numbers(path)[7] is None


def test_no_number_is_made_up_when_none_is_left(path: Path) -> None:
    in_another_process(
        path, f"UPDATE ceramic_one_event SET delivered = {2**63 - 2} WHERE rowid = 1"
    )  # a number
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([2, 3])])
        with pytest.raises(
            InterruptedRunError,
            match=f"holds the number `{2**63 - 2}`, and none larger is left for `2` events",
        ):
            writer.snapshot()
    assert numbers(path)[2] is None


def test_only_the_process_beside_the_database_writes(path: Path) -> None:
    assert DeliveredSink(path, 1, RunState(), writes_here=False).list_parts() == []
    assert DeliveredSink(path, 1, RunState()).list_parts() == ["db"]


def test_a_dry_run_counts_and_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    run_state = RunState()
    sink = DryRunSink(run_state).build_part("sink", "dry", None)
    sink.write_batch([batch([2, 3], inits=1), batch([4])])
    sink.snapshot()
    sink.close()
    assert (
        run_state.delivered,
        run_state.inits,
        run_state.first_number,
        run_state.last_number,
    ) == (
        3,
        1,
        None,
        None,
    )
    assert path.read_bytes() == before


def test_the_codes_of_init_events_are_those_of_the_flow() -> None:
    assert {INIT, UNSIGNED_INIT} == set(range(INIT_KINDS))
