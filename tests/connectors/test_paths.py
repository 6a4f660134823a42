"""Arrow and DuckDB get each path as it is, whatever they would read into its characters."""

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from connectors.paths import ParquetWriter, plain_folder
from tests.support.parquet import read_parquet

NAMES = [
    b"a*b",
    b"[a]?",
    b"stream=abc",
    b"left:1",
    b"file:",
    b"~",
    b"%41#?x=1&y",
    b"'quote\" \\",
    b"new\nline",
    b"\xff\xfe no UTF-8",
    "\u00fc\U0001f680".encode(),
]
"""Names of a folder that mean something else to a library, or nothing."""
ROWS = pa.table({"stream": [1, 2]})


def named(parent: Path, name: bytes) -> Path:
    """A new folder of this name."""
    folder = parent / os.fsdecode(name)
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_folder_of_any_name_is_written_and_read(tmp_path: Path, name: bytes) -> None:
    folder = named(tmp_path, name)
    with ParquetWriter(folder / "order-00000.parquet", ROWS.schema) as file:
        file.write_table(ROWS)
    assert read_parquet(folder / "order-00000.parquet").equals(ROWS)
    with plain_folder(folder) as plain, duckdb.connect() as tables:
        read = "SELECT * FROM read_parquet($files) ORDER BY stream"
        found = tables.execute(read, {"files": [f"{plain}/order-00000.parquet"]})
        assert found.fetchall() == [(1,), (2,)]
    assert [file.name for file in folder.iterdir()] == ["order-00000.parquet"]


def test_a_relative_path_is_meant_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = named(Path(), b"left:1") / "rows.parquet"
    with ParquetWriter(path, ROWS.schema) as file:
        file.write_table(ROWS)
    assert (tmp_path / "left:1" / "rows.parquet").is_file()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), plain_folder(tmp_path / "none"):
        pass
