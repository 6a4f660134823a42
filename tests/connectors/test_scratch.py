"""Temporary folders go away."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.scratch import LOCK_FILE, PREFIX, Scratch, remove_all, scratch_folder


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


def test_one_that_a_killed_process_left_is_removed_by_the_next(temporary: Path) -> None:
    with scratch_folder() as of_a_living_process:
        left = temporary / f"{PREFIX}left"
        left.mkdir()
        (left / LOCK_FILE).touch()
        (left / "spilled").write_text("content")
        with scratch_folder():
            assert not left.exists()
            assert of_a_living_process.exists()


def test_a_folder_of_a_user_is_no_leftover(temporary: Path) -> None:
    for name, lock in {"none": "notes", "pipe": LOCK_FILE, "other": ".lock"}.items():
        folder = temporary / f"{PREFIX}{name}"
        folder.mkdir()
        if name == "pipe":
            os.mkfifo(folder / lock)
        else:
            (folder / lock).touch()
    before = sorted(temporary.rglob("*"))
    with scratch_folder():
        pass
    assert sorted(temporary.rglob("*")) == before


def test_a_scratch_makes_nothing_before_it_is_wanted(temporary: Path) -> None:
    scratch = Scratch(temporary)
    assert not list(temporary.iterdir())
    assert scratch.folder() is scratch.folder()
    assert scratch.folder().parent == temporary
    scratch.close()
    scratch.close()
    assert not list(temporary.iterdir())


def test_one_that_is_being_made_is_never_taken_for_a_leftover(temporary: Path) -> None:
    def make(at: int) -> bool:
        with scratch_folder() as folder:
            (folder / "file").write_text(f"{at}")
            return (folder / "file").read_text() == f"{at}"

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(make, range(400)))
    assert not list(temporary.iterdir())
