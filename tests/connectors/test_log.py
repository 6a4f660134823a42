"""The log: what is in its files, and that a folder gets a whole log or none."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.log import FILE_ROWS, ORDER, LogSink
from connectors.log_folder import LogFolder
from connectors.run_state import RunState
from tests.support import program
from tests.support.program import python

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

    def write_rows(
        item_rows: int = 10, batch_rows: int = 1000, file_rows: int = FILE_ROWS
    ) -> list[Path]:
        sink = LogSink(tmp_path, KINDS, 41, batch_rows, RunState(), file_rows=file_rows)
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


def test_files_are_of_a_bounded_size_and_say_where_they_begin(write: Write, tmp_path: Path) -> None:
    assert [file.name for file in write(batch_rows=2, file_rows=4)] == [
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


def fill(log: LogFolder, content: str, *more: str) -> dict[str, Any]:
    """Make the files of a log, all with this content; its document."""
    for name in (*FILES, *more):
        (log.partial / name).write_text(content)
    order = [{"name": name} for name in (*FILES[:2], *more)]
    return {"order_digest": content, "files": order}


def publish(folder: Path, content: str, *more: str) -> None:
    log = LogFolder(folder, overwrite=True)
    log.publish(fill(log, content, *more), RunState())


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_nothing_has_its_name_before_all_is_complete(tmp_path: Path) -> None:
    log = LogFolder(tmp_path / "log")
    document = fill(log, "new")
    assert list(log.folder.iterdir()) == [log.partial]
    log.publish(document, RunState())
    assert sorted(contents(log.folder)) == sorted([*FILES, "replay.json"])
    assert json.loads((log.folder / "replay.json").read_text()) == document


def test_an_abandoned_log_leaves_no_folder_behind(tmp_path: Path) -> None:
    log = LogFolder(tmp_path / "deep" / "log")
    fill(log, "new")
    log.abandon()
    log.abandon()
    assert not list(tmp_path.iterdir())


def test_an_abandoned_log_leaves_an_earlier_one_and_other_files_as_they_are(tmp_path: Path) -> None:
    publish(tmp_path / "log", "old")
    (tmp_path / "log" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    log = LogFolder(tmp_path / "log", overwrite=True)
    fill(log, "new")
    log.abandon()
    assert contents(tmp_path) == before


MINE = ("notes.txt", "order-2024.parquet", ".partial/keep.txt", ".waiting.parquet.partial")
"""Files of a user's, with names that a log or what makes it could be thought to have."""


@pytest.mark.parametrize("is_linked", [False, True])
def test_overwriting_replaces_the_earlier_log_and_nothing_else(
    tmp_path: Path, *, is_linked: bool
) -> None:
    folder = tmp_path / "log"
    publish(folder, "old", "order-00002.parquet")
    for name in MINE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    if is_linked:
        (tmp_path / "link").symlink_to(folder)
    publish(tmp_path / "link" if is_linked else folder, "new")
    after = contents(folder)
    after.pop("replay.json")
    assert after == dict.fromkeys(FILES, "new") | dict.fromkeys(MINE, "mine")


def test_a_folder_with_a_log_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, "old")
    before = contents(tmp_path)
    advice = r"already holds a log: `replay\.json`\. Nothing was changed\. Use `--overwrite`"
    with pytest.raises(CannotStartError, match=advice):
        LogFolder(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["order-00007.parquet", "replay.json", "waiting.parquet", "rejected.parquet"]
)
def test_a_file_that_no_log_lists_is_never_replaced(
    tmp_path: Path, name: str, *, overwrite: bool
) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(CannotStartError, match=rf"{name}` is in the way of a log"):
        LogFolder(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {name: "{}"}


@pytest.mark.parametrize("name", ["order-00000.parquet", "waiting.parquet", "replay.json"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_in_the_way(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    publish(tmp_path, "old")
    (tmp_path / name).unlink()
    make(tmp_path / name)
    before = contents(tmp_path)
    with pytest.raises(CannotStartError, match="is in the way of a log"):
        LogFolder(tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_a_log_in_a_folder_of_a_user_stays_there(tmp_path: Path) -> None:
    publish(tmp_path / "ceramic-order-2024", "mine")
    before = contents(tmp_path)
    LogFolder(tmp_path).abandon()
    assert contents(tmp_path) == before


def test_a_file_that_comes_midway_is_not_replaced(tmp_path: Path) -> None:
    log = LogFolder(tmp_path)
    document = fill(log, "new")
    (tmp_path / "waiting.parquet").write_text("mine")
    with pytest.raises(InterruptedRunError, match=r"waiting\.parquet` is in the way of a log"):
        log.publish(document, RunState())
    log.abandon()
    assert contents(tmp_path) == {"waiting.parquet": "mine"}


def test_a_document_that_lists_files_of_others_is_no_logs(tmp_path: Path) -> None:
    evil = {"order_digest": "", "files": [{"name": "../notes.txt"}]}
    (tmp_path / "replay.json").write_text(json.dumps(evil))
    with pytest.raises(CannotStartError, match="is in the way of a log"):
        LogFolder(tmp_path, overwrite=True)


def test_two_replays_can_not_write_to_the_same_folder(tmp_path: Path) -> None:
    log = LogFolder(tmp_path)
    document = fill(log, "first")
    with pytest.raises(CannotStartError, match="Another `ceramic-order replay` is writing"):
        LogFolder(tmp_path)
    log.publish(document, RunState())
    assert contents(tmp_path)["order-00000.parquet"] == "first"


STOPPED = """
import errno, os, shutil, sys
from pathlib import Path
from connectors import log_folder
from connectors.run_state import RunState
from tests.connectors.test_log import fill, publish

folder, how, moments = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
left = []

def audit(event, arguments):
    if left and event in {"os.rename", "os.link", "os.remove", "os.rmdir"}:
        left[0] -= 1
        if left[0] < 0 and how == "kill":
            os._exit(9)
        if left[0] == -1:
            raise OSError(errno.EIO, "Input/output error")

sys.addaudithook(audit)
publish(folder / "old", "old", "order-00002.parquet")
for moment in range(moments):
    shutil.copytree(folder / "old", folder / str(moment))
    if os.fork() == 0:
        log = log_folder.LogFolder(folder / str(moment), overwrite=True)
        document = fill(log, "new")
        left.append(moment)
        said = ""
        try:
            log.publish(document, RunState())
        except Exception as error:
            said = str(error)
        log.abandon()
        left.clear()
        (folder / f"{moment}.said").write_text(said)
        os._exit(0)
    os.wait()
"""
"""Publishes; at the n-th change of a folder it is killed, or the disk fails once."""

MOMENTS = 32
"""Publishing makes somewhat fewer changes."""


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_stop_while_a_log_is_overwritten_leaves_one_whole_log(tmp_path: Path, how: str) -> None:
    program.run(python("-c", STOPPED, tmp_path, how, MOMENTS))
    for moment in range(MOMENTS):
        folder, said = tmp_path / str(moment), tmp_path / f"{moment}.said"
        # the next one finds a log in the folder, so it does not begin another
        with pytest.raises(CannotStartError, match="already holds a log"):
            LogFolder(folder)
        found = contents(folder)
        document = json.loads(found.pop("replay.json"))
        names = {file["name"] for file in document["files"]} | set(FILES[2:])
        digest = document["order_digest"]
        assert {found[name] for name in names} == {digest}, moment
        if said.exists():
            is_new = not (text := said.read_text()) or "The new log is whole" in text
            assert digest == ("new" if is_new else "old"), (moment, text)
        LogFolder(folder, overwrite=True).abandon()
        assert contents(folder).keys() == names | {"replay.json"}, "something was left"
    # the last of them was not stopped
    assert said.read_text() == ""


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStartError, match=r"Can't write to `.*log`: Not a directory"):
        LogFolder(tmp_path / "file" / "log")
