"""Temporary folders go away."""

import os
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, Signals

import pytest

from connectors.scratch import LOCK_FILE, PREFIX, Scratch, remove_all, scratch_folder
from tests.support.program import python, run


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


KILLED = """
import os, sys
from pathlib import Path
from connectors.scratch import Scratch

left = []

def audit(event, arguments):
    if left and event in {"os.remove", "os.rmdir"}:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)

sys.addaudithook(audit)
for moment in range(int(sys.argv[2])):
    parent = Path(sys.argv[1], str(moment))
    parent.mkdir()
    if os.fork() == 0:
        scratch = Scratch(parent)
        for name in ("first", "second", "deep/first", "deep/second"):
            (scratch.folder() / name).parent.mkdir(exist_ok=True)
            (scratch.folder() / name).write_text("content")
        left.append(moment)
        scratch.close()
        os._exit(0)
    os.wait()
"""
"""Removes a folder of five files and another folder, and dies at the n-th removal."""

REMOVALS = 7


def test_one_whose_removal_was_killed_is_removed_by_the_next(temporary: Path) -> None:
    run(python("-c", KILLED, temporary, REMOVALS + 1))
    for moment in range(REMOVALS + 1):
        parent = temporary / str(moment)
        assert any(parent.iterdir()) == (moment < REMOVALS)
        Scratch(parent).remove_leftovers()
        # nobody can know whose an empty folder without a lock file is
        assert not [path for path in parent.rglob("*") if not path.is_dir()]


VANISHES = """
import os, shutil, sys
from pathlib import Path
from connectors.scratch import LOCK_FILE, Scratch

left = Path(sys.argv[1], "ceramic-order-left")
until = None

def audit(event, arguments):
    global until
    if until is not None and event in {"open", "os.listdir", "os.scandir", "os.remove", "os.rmdir"}:
        if Path(str(arguments[0])).is_relative_to(left):
            until -= 1
            if until == 0:
                shutil.rmtree(left)

sys.addaudithook(audit)
calls = 1
while until is None or until <= 0:
    until = None
    left.mkdir()
    (left / LOCK_FILE).touch()
    (left / "spilled").touch()
    until = calls
    Scratch(left.parent).remove_leftovers()
    assert not left.exists()
    calls += 1
print(calls)
"""
"""Removes a leftover that another process has removed at the first look at it, the second, ..."""


def test_one_that_another_process_removes_meanwhile_is_no_failure(temporary: Path) -> None:
    assert int(run(python("-c", VANISHES, temporary)).out) > 5


def test_one_with_nothing_in_it_is_removed_without_a_word(temporary: Path) -> None:
    # so its own process leaves it just before it is gone
    for name, files in {"empty": [LOCK_FILE], "left": [LOCK_FILE, "spilled"]}.items():
        (temporary / f"{PREFIX}{name}").mkdir()
        for file in files:
            (temporary / f"{PREFIX}{name}" / file).touch()
    assert Scratch(temporary).remove_leftovers() == [temporary / f"{PREFIX}left"]
    assert not list(temporary.iterdir())


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


def test_one_that_can_not_be_locked_is_not_left(temporary: Path) -> None:
    # a file more can't be opened, so the folder would never be known as a leftover
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limit[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Scratch(temporary).folder()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert not list(temporary.iterdir())


STOPPED = """
import os, signal, sys, time
from pathlib import Path
from flows.terminal.signals import take_over_signals
take_over_signals()
from connectors.log_folder import LogFolder
from connectors.result_folder import ResultFolder
LogFolder(Path(sys.argv[1]))
ResultFolder(Path(sys.argv[2]), ("a",), frozenset()).prepare()
os.kill(os.getpid(), int(sys.argv[3]))
time.sleep(60)
"""


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP, SIGQUIT])
def test_a_signal_removes_new_folders_for_results_that_hold_nothing(
    tmp_path: Path, number: Signals
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for log, report in (("new/log", "new/other/report"), ("old", "used/report"), ("old", "used")):
        names = (tmp_path / log, tmp_path / report, int(number))
        ended = run(python("-c", STOPPED, *names), code=128 + number)
        assert ended.err == f"Stopped by `{number.name}`. Nothing was changed.\n"
        assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")} == {
            "old",
            "used",
            "used/file",
        }


def test_where_the_place_itself_is_gone_there_are_no_leftovers(temporary: Path) -> None:
    place = temporary / "place"
    assert Scratch(place).remove_leftovers() == []
    place.touch()
    assert Scratch(place).remove_leftovers() == []
