"""The report: what was left, counted and listed."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.report import GROUP_ROWS, ReportSink
from connectors.run_state import RunState
from operators.encoding.cid import cid_text
from operators.schemas import LEFT, WAITING
from tests.support.program import python
from tests.support.program import run as run_program

TEXTS = ["cid_text", "stream_text", "prev_text", "cause_text"]
NAMES = ["rejected.parquet", "waiting.parquet"]


def left(*reasons: str) -> pa.RecordBatch:
    rows = [
        {"rowid": row, "cid": b"%d" % row, "reason": reason} for row, reason in enumerate(reasons)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=LEFT)


def report(
    folder: Path | None,
    *batches: pa.RecordBatch,
    publish: bool = True,
    abandon: bool = True,
    kept: list[pa.RecordBatch] | None = None,
) -> RunState:
    run_state = RunState()
    sink = ReportSink(folder, LEFT, WAITING, run_state, kept)
    sink.prepare()
    if batches:
        with closing(sink.build_part("report", "report", None)) as part:
            part.write_batch(list(batches))
            part.snapshot()
    if publish:
        sink.publish()
    elif abandon:
        sink.abandon()
    return run_state


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_events_are_counted_by_reason_and_listed_by_whether_they_wait(tmp_path: Path) -> None:
    run_state = report(
        tmp_path / "a" / "b", left("cycle", "prev missing"), left("prev missing", "not DAG-CBOR")
    )
    assert run_state.reasons == {"cycle": 1, "prev missing": 2, "not DAG-CBOR": 1}
    assert names(tmp_path / "a" / "b") == NAMES
    waiting, rejected = (
        pq.read_table(tmp_path / "a" / "b" / name)
        for name in ("waiting.parquet", "rejected.parquet")
    )
    assert waiting.schema.names == rejected.schema.names == [*LEFT.names, *TEXTS]
    assert waiting["cid_text"].to_pylist() == list(map(cid_text, waiting["cid"].to_pylist()))
    assert waiting["reason"].to_pylist() == ["cycle", "prev missing", "prev missing"]
    assert rejected["reason"].to_pylist() == ["not DAG-CBOR"]


def test_a_batch_of_any_size_is_written_some_events_at_a_time(tmp_path: Path) -> None:
    report(tmp_path, left(*["cycle"] * (GROUP_ROWS + 1)))
    written = pq.ParquetFile(tmp_path / "waiting.parquet").metadata
    groups = [written.row_group(group).num_rows for group in range(written.num_row_groups)]
    assert groups == [GROUP_ROWS, 1]


def test_without_a_folder_events_are_only_counted() -> None:
    kept: list[pa.RecordBatch] = []
    assert report(None, left("cycle"), kept=kept).reasons == {"cycle": 1}
    assert kept == [left("cycle")]


def test_a_report_of_nothing_is_two_empty_files(tmp_path: Path) -> None:
    report(tmp_path)
    assert names(tmp_path) == NAMES
    assert [pq.read_table(tmp_path / name).num_rows for name in NAMES] == [0, 0]


def test_a_run_that_stops_leaves_the_files_of_an_earlier_one(tmp_path: Path) -> None:
    report(tmp_path, left("cycle"))
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    report(tmp_path, left("prev missing", "not DAG-CBOR"), publish=False)
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before
    report(tmp_path, left("prev missing"))
    assert pq.read_table(tmp_path / "waiting.parquet")["reason"].to_pylist() == ["prev missing"]
    assert names(tmp_path) == NAMES


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self")):
        with pytest.raises(CannotStartError, match="Can't make a report in the folder"):
            report(folder)


def test_a_report_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    sink = ReportSink(folder, LEFT, WAITING, RunState())
    sink.prepare()
    shutil.rmtree(folder)
    with pytest.raises(InterruptedRunError, match="Can't write the report"):
        sink.build_part("report", "report", None)


def test_what_a_stopped_run_left_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tests.connectors.test_report import *\n"
        "report(Path(sys.argv[1]), left('cycle'), publish=False, abandon=False); os._exit(9)"
    )
    run_program(python("-c", program, tmp_path), code=9)
    assert list(tmp_path.iterdir())
    report(tmp_path)
    assert [pq.read_table(tmp_path / name).num_rows for name in NAMES] == [0, 0]
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES, "no leftovers"


KILLED = """
import os, shutil, sys
from pathlib import Path
from tests.connectors.test_report import *

moment = []

def audit(event, arguments):
    # publishing starts with a removal
    if moment and (event == "os.remove" or len(moment) > 1 and event == "os.rename"):
        moment.append(event)
        if len(moment) - 2 == moment[0]:
            os._exit(9)

sys.addaudithook(audit)
folder = Path(sys.argv[1])
report(folder / "old", left("cycle"))
for at in range(int(sys.argv[2])):
    shutil.copytree(folder / "old", folder / str(at))
    if os.fork() == 0:
        moment.append(at)
        report(folder / str(at), left("prev missing", "not DAG-CBOR"))
        os._exit(0)
    os.wait()
"""
"""Replaces a report, and dies at the n-th change of a folder."""

CHANGES = 5
"""When a report is replaced: two files go, two get their names, and the lock of their folder goes.
"""


def _is_part(found: list[list[str] | None], whole: list[list[str]]) -> bool:
    return all(one is None or one == wanted for one, wanted in zip(found, whole, strict=True))


def test_a_kill_while_a_report_is_published_never_leaves_files_of_two_together(
    tmp_path: Path,
) -> None:
    run_program(python("-c", KILLED, tmp_path, CHANGES + 1))
    wholes: list[list[list[str]]] = [[["cycle"], []], [["prev missing"], ["not DAG-CBOR"]]]
    for at in range(CHANGES + 1):
        folder = tmp_path / str(at)
        found = [
            pq.read_table(folder / name)["reason"].to_pylist() if name in names(folder) else None
            for name in reversed(NAMES)
        ]
        assert any(_is_part(found, whole) for whole in wholes), (at, found)
        report(folder, left("cycle", "cycle"))
        assert pq.read_table(folder / NAMES[1]).num_rows == 2
        assert sorted(file.name for file in folder.iterdir()) == NAMES, "no leftovers"


def test_files_of_a_user_are_left_as_they_are(tmp_path: Path) -> None:
    mine = tmp_path / ".waiting.parquet.partial"
    mine.write_text("mine")
    report(tmp_path, left("cycle"))
    assert mine.read_text() == "mine"
    (tmp_path / "waiting.parquet").write_text("mine too")
    with pytest.raises(CannotStartError, match=r"waiting\.parquet` is in the way of a report"):
        report(tmp_path)
    assert (tmp_path / "waiting.parquet").read_text() == "mine too"


@pytest.mark.parametrize("is_pipe", [True, False])
def test_what_is_no_regular_file_is_in_the_way(tmp_path: Path, *, is_pipe: bool) -> None:
    name = tmp_path / "rejected.parquet"
    if is_pipe:
        os.mkfifo(name)
    else:
        name.symlink_to("nowhere")
    with pytest.raises(CannotStartError, match=r"rejected\.parquet` is in the way of a report"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["left:1", "a b%?#*", b"bytes-\xff"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str | bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    report(folder, left("cycle"))
    with (folder / "waiting.parquet").open("rb") as file:
        assert pq.read_table(file).num_rows == 1
