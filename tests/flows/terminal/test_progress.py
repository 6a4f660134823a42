"""The progress display, on terminals of several widths and without one."""

import re
import threading

import pytest

from connectors.run_state import Phases, RunState
from flows.terminal.progress import clock, fitted
from tests.support.program import Terminal, end, kill, python, start

PROGRAM = """
import sys, time
from connectors.run_state import RunState
from flows.terminal.progress import ProgressSettings, shown_progress

state = RunState()
state.start_phase("reading", 2_000_000)
with shown_progress(state, quiet=False, settings=ProgressSettings(0.1, 20)):
    for _ in range(5):
        state.add_discovered(200_000)
        time.sleep(0.1)
"""
"""Reads half of two million events."""

CURSOR = re.compile("\x1b\\[[0-9;?]*[A-HJKSTfhl]")
"""Codes that move the cursor, or clear what is on the screen; not those of colours."""


def shown(columns: int, **environment: str) -> str:
    """All that the program shows on a terminal of so many columns."""
    terminal = Terminal(columns)
    child = start(
        python("-c", PROGRAM),
        environment=environment,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
    )
    written = terminal.read(child)
    kill(child)
    assert child.returncode == 0, written
    return written


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        (120, ["reading", "50 %", "left", "1,000,000 of 2,000,000", "===", "after", "events/s"]),
        (80, ["reading", "50 %", "left", "1,000,000 of 2,000,000", "==="]),
        (40, ["reading", "50 %", "left"]),
    ],
)
def test_every_width_shows_percent_and_time_left_on_one_line(
    columns: int, parts: list[str]
) -> None:
    written = shown(columns)
    lines = re.split("[\r\n]", CURSOR.sub("", written))
    assert any(all(part in line for part in parts) for line in lines), lines
    assert max(map(len, lines)) < columns


def test_a_dumb_terminal_gets_plain_lines() -> None:
    written = shown(80, TERM="dumb")
    assert "\x1b" not in written
    assert re.search(r"reading, \d+ %, 0:0\d left, [0-9,]+ of 2,000,000", written)


@pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1"}, {"CLICOLOR_FORCE": "1"}])
def test_without_a_terminal_there_are_plain_lines_and_no_cursor_codes(
    forced: dict[str, str],
) -> None:
    done = end(start(python("-c", PROGRAM), environment=forced))
    assert done.out == ""
    assert not CURSOR.search(done.err)
    assert re.search(r"reading, \d+ %, 0:0\d left, [0-9,]+ of 2,000,000", done.err)


def test_what_is_important_stays_when_there_is_little_room() -> None:
    assert fitted(["reading", "", "50 %", "1:00 left"], 80) == "reading  50 %  1:00 left"
    assert fitted(["reading", "50 %", "1:00 left"], 24) == "reading  50 %"
    assert fitted(["reading", "50 %"], 3) == "reading"


def test_times_are_reported_as_a_clock_does() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3661)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:01:01",
    ]


def test_phases_add_up_from_many_threads() -> None:
    phases = Phases()
    phases.start_phase("making", 8000)

    def advance() -> None:
        for _ in range(1000):
            phases.advance(1)

    threads = [threading.Thread(target=advance) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert phases.current()[:3] == ("making", 8000, 8000)


def test_a_run_goes_from_reading_to_ordering_to_writing() -> None:
    state = RunState()
    state.start_phase("reading", 10)
    state.add_discovered(6)
    state.start_writing(5)
    assert state.current()[:3] == ("reading", 6, 10), "a batch that is written meanwhile"
    state.add_discovered(4)
    assert state.current()[:3] == ("ordering", 0, None)
    state.start_writing(5)
    state.advance_writing(2)
    assert state.current()[:3] == ("writing", 2, 5)


def test_a_phase_starts_with_the_first_word_of_it() -> None:
    phases = Phases()
    phases.reach("joining", 1, 4)
    phases.reach("joining", 2, 4)
    assert phases.current()[:3] == ("joining", 2, 4)
