"""SIGINT and SIGTERM end a run at any moment with one line that says what is kept."""

import re
import shutil
import time
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGXCPU, Signals
from subprocess import Popen
from typing import Literal

import pytest

from connectors.report import FILES
from tests.crash.conftest import (
    Children,
    Faults,
    Template,
    await_wal,
    check_rerun,
    check_stopped,
)
from tests.support.oracle import Contents, check, read
from tests.support.program import Ended, end

OPTIONS = ("--batch-rows", "200", "--quiet")
SOME_BYTES = 200_000
"""How large the WAL is after a batch or two."""


def _listens(child: Popen[str]) -> bool:
    """Whether a run handles signals: SIGTERM, which Python leaves alone, is caught or blocked."""
    masks = re.findall(
        r"Sig(?:Cgt|Blk):\s*([0-9a-f]+)", Path(f"/proc/{child.pid}/status").read_text()
    )
    return any(int(mask, 16) >> SIGTERM - 1 & 1 for mask in masks)


def _has_loaded(child: Popen[str], library: str) -> bool:
    return library in Path(f"/proc/{child.pid}/maps").read_text()


def _check_stopped_by(number: Signals, ended: Ended, before: Contents, database: Path) -> None:
    """One line, the exit code, and the truth about what is kept."""
    new = len(check_stopped(before, database)) - before.highest
    if ended.code == 0:
        check(before, read(database))
        return
    assert ended.code == 128 + number, ended
    line = re.fullmatch(rf"Stopped by `{number.name}`\. (.+)\n", ended.err)
    assert line, ended
    if "job itself is done" not in line[1]:
        assert new == (0 if "Nothing was changed" in line[1] else ended.kept()), ended


def _check_signals(moments: int, large: Template, children: Children, rng: Random) -> int:
    """Stop runs at random moments; how many had delivered something, but not all."""
    midway = 0
    started = time.monotonic()
    assert children.run(large.copy(children.folder), *OPTIONS).code == 0
    seconds = time.monotonic() - started
    for _ in range(moments):
        number, delay = rng.choice([SIGINT, SIGTERM, SIGHUP, SIGQUIT]), rng.uniform(0, seconds)
        print(f"{number.name} after {delay} s")  # noqa: T201 # pytest shows it with a failure
        database, results = large.copy(children.folder), children.folder / "results"
        shutil.rmtree(results, ignore_errors=True)
        child = children.start(database, *OPTIONS, "--report", str(results / "report"))
        time.sleep(delay)
        ready = _listens(child) or child.poll() is not None
        assert ready or not _has_loaded(child, "pyarrow")
        child.send_signal(number)
        if ready:
            ended = end(child)
            _check_stopped_by(number, ended, large.contents, database)
            midway += (ended.kept() or 0) > 0
            reported = {file.name for file in results.glob("*/*")}
            assert reported == set(FILES.values()) if reported else not results.exists()
        else:
            # what the interpreter says before our first lines is not ours
            _, err = child.communicate()
            assert set(re.findall(r"/flows/(.+?)\"", err)) <= {"__main__.py", "signals.py"}
    check_rerun(large.contents, database, children)
    return midway


def test_a_signal_at_any_moment_ends_the_run_with_one_line(
    large: Template, children: Children, rng: Random
) -> None:
    _check_signals(6, large, children, rng)


@pytest.mark.parametrize("number", [SIGUSR1, SIGXCPU])
def test_a_signal_that_is_left_to_the_system_is_as_a_kill(
    large: Template, children: Children, number: Signals
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *OPTIONS)
    assert await_wal(child, database, SOME_BYTES)
    child.send_signal(number)
    assert end(child).code == -number
    check_stopped(large.contents, database)
    check_rerun(large.contents, database, children)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 16), indirect=True)
def test_signals_at_many_moments(large: Template, children: Children, rng: Random) -> None:
    assert _check_signals(100, large, children, rng) > 0


@pytest.mark.parametrize(("effect", "number"), [("slow", SIGINT), ("hang", SIGTERM)])
def test_a_signal_ends_a_run_on_a_slow_or_hanging_disk(
    large: Template, children: Children, effect: Literal["slow", "hang"], number: Signals
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *OPTIONS, faults=Faults(effect, first=500))
    assert await_wal(child, database, SOME_BYTES)
    # by itself such a run ends in minutes or never
    time.sleep(0.5)
    child.send_signal(number)
    ended = end(child)
    assert ended.code == 128 + number
    _check_stopped_by(number, ended, large.contents, database)
    check_rerun(large.contents, database, children)
