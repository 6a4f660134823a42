"""Temporary folders go away."""

import tempfile
from pathlib import Path

import pytest

from connectors.scratch import remove_all, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_one_goes_with_all_that_is_in_it_at_the_end_of_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("content")
    assert not list(temporary.iterdir())


def test_one_goes_when_its_block_fails(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder():
        raise ZeroDivisionError
    assert not list(temporary.iterdir())


def test_all_can_go_at_once(temporary: Path) -> None:
    with scratch_folder(), scratch_folder():
        remove_all()
        assert not list(temporary.iterdir())


def test_one_can_be_anywhere(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    with scratch_folder(temporary / "elsewhere") as folder:
        assert folder.parent == temporary / "elsewhere"
