"""The sink: numbers in whole transactions, and nobody else's."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bytewax.outputs import StatefulSinkPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import InterruptedRunError
from connectors.run_state import RunState
from connectors.sink import DeliveredSink, DryRunSink, SinkSettings
from connectors.sorted_runs import RunFiles, numbered, sorted_run
from connectors.sqlite import Connection, connect, execute, scalar
from operators.schemas import DATA, INIT, ORDERED
from tests.support.job import chain, store
from tests.support.oracle import read
from tests.support.other_programs import execute_elsewhere, holding


def batch(rowids: Sequence[int], inits: int = 0, level: int = 0) -> pa.RecordBatch:
    rows = [
        {
            "rowid": rowid,
            "cid": b"%d" % rowid,
            "stream": b"s",
            "prev": None if at < inits else b"p",
            "kind": INIT if at < inits else DATA,
            "level": level,
        }
        for at, rowid in enumerate(rowids)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ORDERED)


def numbers(path: Path) -> dict[int, int | None]:
    """For each event `delivered`, by rowid: the events of `chain` lie in its order."""
    found = read(path).numbers
    return {rowid: found[event.cid] for rowid, event in enumerate(chain(20), start=1)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Twenty events; the first has number 5, and no other has any."""
    return store(tmp_path / "node.db", chain(20), [5, *[None] * 19])


BY_FOUR = SinkSettings(batch_rows=4)


@contextmanager
def writer_of(
    path: Path,
    run_state: RunState,
    settings: SinkSettings = BY_FOUR,
    connection: Connection | None = None,
) -> Iterator[StatefulSinkPartition[pa.RecordBatch, int]]:
    sink = DeliveredSink(path, run_state, settings, connection=connection)
    writer = sink.build_part("sink", "db", None)
    with closing(writer):
        yield writer


def test_numbers_go_on_above_the_highest_batch_by_batch(path: Path) -> None:
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([9, 2], inits=1), batch([7])])
        writer.write_batch([batch([3, 11, 4])])
        writer.snapshot()
    assert {rowid: number for rowid, number in numbers(path).items() if number} == {
        1: 5,
        2: 6,
        3: 7,
        7: 8,
        9: 9,
        4: 10,
        11: 11,
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
    with writer_of(path, run_state, SinkSettings(batch_rows)) as writer:
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


def test_numbers_rise_by_level_then_by_rowid_whatever_the_order_of_arrival(path: Path) -> None:
    with writer_of(path, RunState(), SinkSettings()) as writer:
        writer.write_batch([batch([9, 2], level=1), batch([7], level=4), batch([12, 3])])
        writer.snapshot()
    found = numbers(path)
    assert [found[rowid] for rowid in (3, 12, 2, 9, 7)] == [6, 7, 8, 9, 10]


@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    rows=st.lists(st.tuples(st.integers(2, 20), st.integers(0, 5)), unique_by=lambda row: row[0]),
    run_rows=st.integers(1, 6),
    chunk_rows=st.integers(1, 6),
    is_spilled=st.booleans(),
)
def test_events_are_numbered_alike_however_they_are_held(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int]],
    run_rows: int,
    chunk_rows: int,
    *,
    is_spilled: bool,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    files = RunFiles(lambda: folder, 0) if is_spilled else RunFiles(None, 0)
    cut = [rows[at : at + run_rows] for at in range(0, len(rows), run_rows)]
    runs = [
        files.keep(sorted_run(*(np.array(column) for column in zip(*part, strict=True))))
        for part in cut
    ]
    assert all(isinstance(run.rowid, np.memmap) == is_spilled for run in runs)
    came = [row for chunk in numbered(runs, 100, chunk_rows) for row in chunk.to_pylist()]
    assert [row["rowid"] for row in came] == sorted(rowid for rowid, _ in rows)
    expected = {rowid: 100 + at for at, (_, rowid) in enumerate(sorted((b, a) for a, b in rows))}
    assert {row["rowid"]: row["delivered"] for row in came} == expected


def test_closing_writes_nothing(path: Path) -> None:
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([2, 3])])
    assert numbers(path)[2] is None


def test_somebody_else_who_numbers_events_is_noticed(path: Path) -> None:
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([2, 3, 4, 5])])
        writer.snapshot()
        execute_elsewhere(path, "UPDATE ceramic_one_event SET delivered = 100 WHERE rowid = 20")
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
    execute_elsewhere(path, sql)
    run_state = RunState()
    with writer_of(path, run_state) as writer:
        writer.write_batch([batch([6, 7, 8])])
        with pytest.raises(InterruptedRunError, match=r"Of `3` events `2` were still undelivered"):
            writer.snapshot()
    assert run_state.delivered == 0
    assert read(path).highest == 5


def test_a_write_that_fails_undoes_its_batch(path: Path) -> None:
    with (
        closing(connect(path, "rw", busy_seconds=0.1)) as impatient,
        writer_of(path, RunState(), connection=impatient) as writer,
    ):
        writer.write_batch([batch([2, 3])])
        writer.snapshot()
        with holding(path, "BEGIN IMMEDIATE"):
            writer.write_batch([batch([4])])
            with pytest.raises(InterruptedRunError, match=r"failed: database is locked"):
                writer.snapshot()
    assert numbers(path)[4] is None


def test_a_statement_that_fails_midway_undoes_its_batch(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            "CREATE TRIGGER refuse BEFORE UPDATE ON ceramic_one_event WHEN new.rowid = 8 "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([7, 8, 9])])
        with pytest.raises(InterruptedRunError, match="refused"):
            writer.snapshot()
    assert numbers(path)[7] is None


def test_no_number_is_made_up_when_none_is_left(path: Path) -> None:
    execute_elsewhere(
        path, f"UPDATE ceramic_one_event SET delivered = {2**63 - 2} WHERE rowid = 1"
    )  # a number
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([2, 3])])
        with pytest.raises(
            InterruptedRunError,
            match=f"holds the number `{2**63 - 2}`: .* hardly any is left",
        ):
            writer.snapshot()
    assert numbers(path)[2] is None


@pytest.mark.parametrize(
    ("value", "words"), [("'many'", "the text `many`"), ("x'01'", "a blob of 1 bytes")]
)
def test_a_number_that_is_none_and_comes_midway_is_reported_as_before_a_run(
    path: Path, value: str, words: str
) -> None:
    with writer_of(path, RunState()) as writer:
        writer.write_batch([batch([2])])
        writer.snapshot()
        execute_elsewhere(path, f"UPDATE ceramic_one_event SET delivered = {value} WHERE rowid = 9")
        writer.write_batch([batch([3])])
        with pytest.raises(InterruptedRunError, match=f"number that is none: it is {words}"):
            writer.snapshot()
    with closing(connect(path)) as connection:
        kept = scalar(connection, "SELECT delivered FROM ceramic_one_event WHERE rowid = 3")
    assert kept is None


def test_only_the_process_next_to_the_database_writes(path: Path) -> None:
    assert DeliveredSink(path, RunState(), writes_here=False).list_parts() == []
    assert DeliveredSink(path, RunState()).list_parts() == ["db"]


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
