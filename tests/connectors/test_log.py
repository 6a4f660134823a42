"""The log: what is in its files, and that a folder gets a whole log or none."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.log import ORDER, LogSink
from connectors.log_folder import LogFolder
from connectors.run_state import RunState

KINDS = ("init", "unsigned init", "data", "time")
ROWS = pa.table(
    {
        "rowid": pa.array(range(100, 110)),
        "cid": pa.array([bytes([1, index]) for index in range(10)], pa.binary()),
        "stream": pa.array([bytes([1, index // 5 * 5]) for index in range(10)], pa.binary()),
        "prev": pa.array(
            [None if index % 5 == 0 else bytes([1, index - 1]) for index in range(10)], pa.binary()
        ),
        "kind": pa.array([0, 2, 3, 2, 2, 1, 2, 3, 3, 2], pa.int8()),
    }
)
"""Two streams of five."""

Write = Callable[..., list[Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ROWS, in items of `item_rows`, behind the number 40; the files."""

    def write_rows(item_rows: int = 10, batch_rows: int = 1000) -> list[Path]:
        sink = LogSink(tmp_path, KINDS, 41, batch_rows, RunState())
        part = sink.build_part("sink", "log", None)
        for item in ROWS.to_batches(max_chunksize=item_rows):
            part.write_batch([item])
        return [tmp_path / file.name for file in sink.finish()]

    return write_rows


@pytest.mark.parametrize("item_rows", [1, 3, 10])
@pytest.mark.parametrize("batch_rows", [1, 4, 1000])
def test_numbers_are_dense_in_the_order_of_arrival_however_it_is_cut(
    write: Write, item_rows: int, batch_rows: int
) -> None:
    order = pa.concat_tables(map(pq.read_table, write(item_rows, batch_rows)))
    assert order.schema.equals(ORDER)
    assert order["delivered"].to_pylist() == list(range(41, 51))
    assert order["kind"].to_pylist() == [KINDS[kind] for kind in ROWS["kind"].to_pylist()]
    assert order.select(["rowid", "cid", "stream", "prev"]).equals(
        ROWS.select(["rowid", "cid", "stream", "prev"]).cast(_plain(order))
    )


def _plain(order: pa.Table) -> pa.Schema:
    return order.select(["rowid", "cid", "stream", "prev"]).schema


def test_files_are_of_a_bounded_size_and_say_where_they_begin(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.log.FILE_ROWS", 4)
    assert [file.name for file in write(batch_rows=2)] == [
        "order-00000.parquet",
        "order-00001.parquet",
        "order-00002.parquet",
    ]
    rows = [pq.read_metadata(file).num_rows for file in sorted(tmp_path.glob("*.parquet"))]
    assert rows == [4, 4, 2]


def test_row_groups_have_statistics_by_which_a_reader_finds_a_number(write: Write) -> None:
    (file,) = write(batch_rows=4)
    groups = [pq.read_metadata(file).row_group(index).column(0).statistics for index in range(3)]
    assert [(group.min, group.max) for group in groups] == [(41, 44), (45, 48), (49, 50)]


def test_an_order_without_events_is_one_empty_file(tmp_path: Path) -> None:
    (file,) = LogSink(tmp_path, KINDS, 1, 1000, RunState()).finish()
    assert (file.events, file.first_number, file.last_number) == (0, None, None)
    assert pq.read_table(tmp_path / file.name).equals(ORDER.empty_table())


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    run_state = RunState()
    sink = LogSink(tmp_path / "log" / "gone", KINDS, 1, 1000, run_state)
    sink.add(ROWS.to_batches()[0])
    with pytest.raises(
        InterruptedRunError, match=r"log` failed: No such file or directory\. No part of a new log"
    ) as raised:
        sink.finish()
    assert run_state.failure is raised.value


FILES = ("order-00000.parquet", "order-00001.parquet", "waiting.parquet", "rejected.parquet")


def fill(log: LogFolder, content: str) -> None:
    for name in FILES:
        (log.partial / name).write_text(content)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_nothing_has_its_name_before_all_is_complete(tmp_path: Path) -> None:
    log = LogFolder(tmp_path / "log")
    fill(log, "new")
    assert [file.name for file in log.folder.iterdir()] == [".partial"]
    log.publish({"delivered": 2}, RunState())
    assert sorted(contents(log.folder)) == [
        "order-00000.parquet",
        "order-00001.parquet",
        "rejected.parquet",
        "replay.json",
        "waiting.parquet",
    ]
    assert json.loads((log.folder / "replay.json").read_text()) == {"delivered": 2}
    assert not log.partial.exists()


def test_an_abandoned_log_leaves_no_folder_behind(tmp_path: Path) -> None:
    log = LogFolder(tmp_path / "deep" / "log")
    fill(log, "new")
    log.abandon()
    log.abandon()
    assert not list(tmp_path.iterdir())


def test_an_abandoned_log_leaves_an_earlier_one_and_other_files_as_they_are(tmp_path: Path) -> None:
    earlier = LogFolder(tmp_path / "log")
    fill(earlier, "old")
    earlier.publish({}, RunState())
    (tmp_path / "log" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    log = LogFolder(tmp_path / "log", overwrite=True)
    fill(log, "new")
    log.abandon()
    assert contents(tmp_path) == before


def test_overwriting_leaves_nothing_of_the_earlier_log_and_all_other_files(tmp_path: Path) -> None:
    earlier = LogFolder(tmp_path)
    fill(earlier, "old")
    (earlier.partial / "order-00002.parquet").write_text("old")
    earlier.publish({}, RunState())
    (tmp_path / "notes.txt").write_text("mine")
    log = LogFolder(tmp_path, overwrite=True)
    fill(log, "new")
    log.publish({}, RunState())
    assert set(contents(tmp_path).values()) == {"new", "mine", "{}\n"}


@pytest.mark.parametrize(
    "name", ["order-00007.parquet", "replay.json", "waiting.parquet", "rejected.parquet"]
)
def test_a_folder_that_holds_any_file_of_a_log_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(
        CannotStartError,
        match=rf"already holds a log: `{name}`\. Nothing was changed\. Use `--overwrite`",
    ):
        LogFolder(tmp_path)
    assert contents(tmp_path) == {name: "old"}


def test_two_replays_can_not_write_to_the_same_folder(tmp_path: Path) -> None:
    log = LogFolder(tmp_path)
    fill(log, "first")
    with pytest.raises(CannotStartError, match="Another `ceramic-order replay` is writing"):
        LogFolder(tmp_path)
    log.publish({}, RunState())
    assert contents(tmp_path)["order-00000.parquet"] == "first"


def test_what_a_killed_replay_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".partial" / "spill-1").mkdir(parents=True)
    (tmp_path / ".partial" / "order-00003.parquet").write_text("half")
    log = LogFolder(tmp_path)
    fill(log, "new")
    log.publish({}, RunState())
    assert "half" not in contents(tmp_path).values()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStartError, match=r"Can't write to `.*log`: Not a directory"):
        LogFolder(tmp_path / "file" / "log")
