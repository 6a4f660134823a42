"""Each option that names a file or folder takes any name, and means exactly that one."""

import os
import shutil
from pathlib import Path

from operators.encoding.cid import cid_text
from tests.support.job import chain, store
from tests.support.parquet import read_parquet
from tests.support.program import ceramic_order, run

ODD = os.fsdecode(b"left:1/stream=abc/kind=x/o*[x]?'\"#%41 ~\n\xff")
"""Folders whose names mean something else to Arrow, DuckDB or SQLite, and are no UTF-8."""


def test_a_log_and_reports_in_folders_of_any_name(tmp_path: Path) -> None:
    events = chain(5)
    folder, neighbour = tmp_path / ODD, tmp_path / "left:1/stream=abc/kind=x/oxx"
    folder.mkdir(parents=True)
    neighbour.mkdir()
    database = store(folder / "node.db", events[:2] + events[3:])
    shutil.copy(database, folder / "copy.db")
    here = Path(ODD)
    log = run(
        ceramic_order("replay", here / "copy.db", "--out", here / "log", "--json"),
        cwd=tmp_path,
    ).document
    plain = run(ceramic_order("replay", here / "copy.db", "--out", "log", "--json"), cwd=tmp_path)
    assert log["order_digest"] == plain.document["order_digest"]
    assert log["verification"]["ok"]
    page = here / "page.html"
    command = ceramic_order("run", here / "node.db", "--report", here / "report", "--html", page)
    run(command, cwd=tmp_path)
    assert cid_text(events[2].cid) in (folder / "page.html").read_text()
    waiting = read_parquet(folder / "report" / "waiting.parquet")
    assert waiting["cid"].to_pylist() == [event.cid for event in events[3:]]
    found = run(
        ceramic_order(
            "verify",
            *(here / "node.db", "--baseline", here / "copy.db", "--log", here / "log"),
            *("--report", here / "found", "--json"),
        ),
        cwd=tmp_path,
    )
    assert found.document["ok"]
    assert read_parquet(folder / "found" / "violations.parquet").num_rows == 0
    assert list(neighbour.iterdir()) == []


def test_temporary_files_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    (tmp_path / ODD).mkdir(parents=True)
    database = store(tmp_path / "node.db", chain(5))
    environment = {"TMPDIR": str(tmp_path / ODD)}
    for command in (
        ceramic_order("replay", database, "--out", tmp_path / "log", "--html", tmp_path / "1"),
        ceramic_order("run", database, "--html", tmp_path / "2"),
        ceramic_order("verify", database, "--html", tmp_path / "3"),
    ):
        run(command, environment=environment)
    assert list((tmp_path / ODD).iterdir()) == []
