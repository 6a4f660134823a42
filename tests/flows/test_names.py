"""Each option that names a file or folder takes any name, and means exactly that one."""

import os
import shutil
from pathlib import Path

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
    run(ceramic_order("run", here / "node.db", "--report", here / "report"), cwd=tmp_path)
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
