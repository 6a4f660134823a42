"""Claiming a database: who else has it, and what is left behind."""

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from connectors.claim import ClaimSettings, claim
from connectors.database import locate
from connectors.errors import CannotStartError
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of, holding, is_in_use
from tests.support.program import python, ready, run

IMPATIENT = ClaimSettings(busy_seconds=0.2)
READ = "SELECT count(*) FROM ceramic_one_event"
OTHER_RUN = """
import sys
from pathlib import Path
from connectors.claim import claim
held = claim(Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.read()
held.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store(tmp_path / "node.db", chain(3))


def test_an_idle_connection_of_another_process_is_noticed(path: Path) -> None:
    assert not is_in_use(path)
    with holding(path, READ):
        assert is_in_use(path)
    assert not is_in_use(path)


def test_the_probe_changes_nothing(path: Path, tmp_path: Path) -> None:
    before = bytes_of(tmp_path)
    assert not is_in_use(path)
    assert bytes_of(tmp_path) == before


def test_a_database_that_is_in_use_is_not_claimed(path: Path, tmp_path: Path) -> None:
    with holding(path, READ):
        before = bytes_of(tmp_path)
        with pytest.raises(CannotStartError, match="is open in another process"):
            claim(path, IMPATIENT)
        assert bytes_of(tmp_path).keys() == before.keys()
    claim(path).close()


def test_two_runs_exclude_each_other_and_the_first_is_unharmed(path: Path, tmp_path: Path) -> None:
    with ready(python("-c", OTHER_RUN, path)) as first:
        with pytest.raises(CannotStartError, match="Another `ceramic-order run`"):
            claim(path)
        assert first.poll() is None
        with pytest.raises(CannotStartError, match="Another `ceramic-order run`"):
            claim(path)
    assert first.returncode == 0
    claim(path).close()
    assert list(bytes_of(tmp_path)) == [path.name]


def test_a_lock_file_left_by_a_kill_does_no_harm(path: Path, tmp_path: Path) -> None:
    with ready(python("-c", OTHER_RUN, path)) as killed:
        killed.kill()
    assert (tmp_path / (path.name + "-order-lock")).exists()
    held = claim(path)
    with pytest.raises(CannotStartError):
        claim(path)
    held.close()
    assert list(bytes_of(tmp_path)) == [path.name]


def test_a_lock_file_that_can_not_be_removed_does_no_harm(path: Path) -> None:
    held = claim(path)
    held.lock_path.unlink()
    held.lock_path.mkdir()
    held.close()
    held.lock_path.rmdir()
    claim(path).close()
    assert not held.lock_path.exists()


def test_the_lock_file_of_another_run_is_left(path: Path, tmp_path: Path) -> None:
    first = claim(path)
    # somebody replaces the folder, and another run starts there
    first.lock_path.rename(tmp_path / "moved")
    first.lock_path.touch()
    first.close()
    assert first.lock_path.exists()


def test_a_link_is_followed_once(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    with closing(claim(locate(link, writable=True))) as held:
        link.unlink()
        link.symlink_to("elsewhere")
        held.require_in_place()
        assert held.path == path


def test_a_named_pipe_is_no_lock_file(path: Path, tmp_path: Path) -> None:
    lock = tmp_path / (path.name + "-order-lock")
    os.mkfifo(lock)
    with pytest.raises(CannotStartError, match="something else has this name"):
        claim(path)
    assert lock.is_fifo()


def test_a_lock_file_that_is_not_ours_is_named(path: Path, tmp_path: Path) -> None:
    lock = tmp_path / (path.name + "-order-lock")
    (tmp_path / "other").write_text("precious")
    lock.symlink_to(tmp_path / "other")
    with pytest.raises(CannotStartError, match="something else has this name"):
        claim(path)
    assert lock.is_symlink()
    assert (tmp_path / "other").read_text() == "precious"


OTHER_USER = 65534
"""Of `nobody` on most systems."""
CLAIMED_BY_ANOTHER_USER = """
import os, sys
from pathlib import Path
from connectors.claim import claim
from connectors.database import locate
from connectors.errors import CannotStartError
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
try:
    claim(Path(sys.argv[1]))
except CannotStartError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_lock_file_of_another_user_is_reported_with_its_owner_and_what_to_do() -> None:
    # the folders of the tests are closed to other users
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = store(folder / "node.db", chain(3))
        path.chmod(0o666)
        lock = folder / "node.db-order-lock"
        lock.touch(0o600)
        before = bytes_of(folder)
        said = run(python("-c", CLAIMED_BY_ANOTHER_USER, path, OTHER_USER)).out
        assert f"Can't open the lock file `{lock}`: it belongs to user `root`" in said
        assert "Nothing was changed." in said
        assert "left from one that was killed: remove it." in said
        assert bytes_of(folder) == before
