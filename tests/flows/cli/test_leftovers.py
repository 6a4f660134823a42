"""What a killed command leaves is removed by the next one, which says so."""

import time
from pathlib import Path

import pytest

from connectors.scratch import LOCK_FILE, PREFIX
from tests.support.job import chain, store
from tests.support.program import ceramic_order, kill, run, started


@pytest.fixture
def folder_left(tmp_path: Path) -> Path:
    """What a `synth` that was killed midway has left."""
    command = ceramic_order("synth", tmp_path / "out.db", "--streams", 1_000_000)
    with started(command) as running:
        while not (found := list(tmp_path.glob(f"{PREFIX}*/database"))):
            assert running.poll() is None
            time.sleep(0.01)
        kill(running)
    assert not (tmp_path / "out.db").exists()
    return found[0].parent


def test_synth_removes_what_a_killed_one_left(folder_left: Path, tmp_path: Path) -> None:
    run(ceramic_order("synth", tmp_path / "out.db", "--streams", 3))
    assert not folder_left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.db"]


def test_a_run_says_what_it_removes(folder_left: Path, tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    said = f"Removed `{folder_left}`, which a command that was killed had left.\n"
    assert run(ceramic_order("run", path)).err == said
    assert not folder_left.exists()
    assert run(ceramic_order("run", path)).err == ""


def test_a_command_that_changes_nothing_removes_nothing(folder_left: Path, tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    run(ceramic_order("status", path, "--reasons"))
    assert folder_left.exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_replay_says_what_it_removes(quiet: bool, tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    left = tmp_path / "log" / f"{PREFIX}left"
    left.mkdir(parents=True)
    (left / LOCK_FILE).touch()
    (left / "order-00000.parquet").write_text("half")
    options = ["--quiet"] if quiet else []
    ended = run(ceramic_order("replay", path, "--out", tmp_path / "log", "--no-verify", *options))
    said = f"Removed `{left}`, which a command that was killed had left.\n"
    assert ended.err == ("" if quiet else said)
    assert not left.exists()
