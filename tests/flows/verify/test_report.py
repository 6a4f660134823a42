"""The report of a verification: whole or not there, and nothing of a user's is touched."""

import resource
from pathlib import Path

import pytest

from connectors.errors import CannotStartError
from flows.verify.report import FILE
from flows.verify.verify import verify
from tests.support.job import chain, store
from tests.support.parquet import read_parquet
from tests.support.program import ceramic_order, run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return store(tmp_path / "node.db", chain(3))


def test_a_report_replaces_an_earlier_one(database: Path, tmp_path: Path) -> None:
    for _ in range(2):
        verify(database, report=tmp_path / "some" / "report")
        assert [file.name for file in (tmp_path / "some" / "report").iterdir()] == [FILE]
        assert read_parquet(tmp_path / "some" / "report" / FILE).num_rows == 2


def test_a_file_that_is_no_report_is_never_replaced(database: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("of somebody's")
    (tmp_path / f".{FILE}.partial").write_text("of somebody's too")
    with pytest.raises(CannotStartError, match="is in the way of a report"):
        verify(database, report=tmp_path)
    (tmp_path / FILE).unlink()
    verify(database, report=tmp_path)
    assert (tmp_path / f".{FILE}.partial").read_text() == "of somebody's too"


def test_a_verification_that_cannot_start_leaves_no_folder(database: Path, tmp_path: Path) -> None:
    report = tmp_path / "some" / "report"
    with pytest.raises(CannotStartError, match="so it is no log"):
        verify(database, report=report, log=tmp_path)
    with pytest.raises(CannotStartError, match="No such file"):
        verify(database, report=report, baseline=tmp_path / "none.db")
    assert not (tmp_path / "some").exists()


def test_a_report_that_cannot_be_written_is_no_fault_of_the_database(
    database: Path, tmp_path: Path
) -> None:
    command = ceramic_order("verify", database, "--report", tmp_path / "report")
    ended = run(command, code=3, limits={resource.RLIMIT_FSIZE: 100})
    assert "Can't write the report in" in ended.err
    assert not (tmp_path / "report").exists()
