"""Whoever listens to a run, and however badly: the job is done or stopped cleanly."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from tests.crash.conftest import (
    Children,
    Faults,
    Template,
    arguments,
    await_wal,
    check_stopped,
)
from tests.support.oracle import check, deliverable, read
from tests.support.program import HANG_SECONDS, Terminal, ceramic_order, end, run


def _through_shell(redirection: str, database: Path) -> list[str]:
    """A command line whose streams are redirected by a shell."""
    return ["sh", "-c", f'exec "$@" {redirection}', "sh", *arguments(database)]


@pytest.mark.parametrize("redirection", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_a_run_whose_streams_are_closed_does_the_job(
    small: Template, children: Children, redirection: str
) -> None:
    database = small.copy(children.folder)
    ended = end(children.spawn(_through_shell(redirection, database)))
    assert ended.code == 0, ended
    check(small.contents, read(database))


def test_an_error_that_nobody_can_read_keeps_its_exit_code(children: Children) -> None:
    assert end(children.spawn(_through_shell("2>&-", children.folder / "none.db"))).code == 2


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_a_summary_on_a_full_disk_is_reported_and_the_job_is_done(
    small: Template, children: Children, options: tuple[str, ...]
) -> None:
    database = small.copy(children.folder)
    ended = end(children.spawn([*_through_shell(">/dev/full", database), *options]))
    assert ended.code == 3
    assert "The job is done" in ended.err
    assert "No space left on device" in ended.err
    check(small.contents, read(database))


def test_a_reader_that_has_gone_does_not_matter(small: Template, children: Children) -> None:
    database = small.copy(children.folder)
    child = children.start(database)
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    ended = end(child)
    assert ended.code == 0, ended
    check(small.contents, read(database))


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that takes nothing more, because nobody reads."""
    reading, writing = os.pipe()
    fcntl(writing, F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def _wait_until_done(database: Path) -> None:
    """Wait until a run has released the database: until then it keeps a lock file next to it."""
    lock = database.with_name(database.name + "-order-lock")
    for there in (True, False):
        deadline = time.monotonic() + HANG_SECONDS
        while lock.exists() is not there:
            assert time.monotonic() < deadline
            time.sleep(0.0005)


def test_a_signal_ends_a_run_that_waits_for_a_reader_of_its_summary(
    small: Template, children: Children, full_pipe: int
) -> None:
    database = small.copy(children.folder)
    child = children.spawn(arguments(database, "--json"), stdout=full_pipe)
    _wait_until_done(database)
    time.sleep(0.5)
    child.send_signal(SIGTERM)
    ended = end(child)
    assert ended.code == 128 + SIGTERM
    assert ended.err == "Stopped by `SIGTERM`. The job itself is done.\n"
    check(small.contents, read(database))


def test_a_signal_ends_a_run_that_nobody_listens_to(
    large: Template, children: Children, full_pipe: int
) -> None:
    database = large.copy(children.folder)
    slow = Faults("slow", first=500)
    child = children.start(database, "--batch-rows", "200", faults=slow, stderr=full_pipe)
    assert await_wal(child, database, 200_000)
    child.send_signal(SIGTERM)
    assert end(child).code == 128 + SIGTERM
    check_stopped(large.contents, database)


HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_a_narrow_terminal_shows_all_numbers(small: Template, children: Children) -> None:
    # what shows progress has often lost a race by the end of so short a run
    for _ in range(4):
        database, terminal = small.copy(children.folder), Terminal(20)
        child = children.spawn(arguments(database), stdout=terminal.theirs, stderr=terminal.theirs)
        written = terminal.read(child)
        assert child.returncode == 0, written
        assert "Error" not in written
        assert f" {len(deliverable(small.contents))} " in written
        check(small.contents, read(database))


@pytest.mark.parametrize("columns", ["0", "1", "30", "x"])
def test_no_width_hides_a_number(small: Template, children: Children, columns: str) -> None:
    database = small.copy(children.folder)
    undelivered = [number for number in small.contents.numbers.values() if number is None]
    environment = {"COLUMNS": columns, "NO_COLOR": "1"}
    for command, code in (("status", 0), ("verify", 1), ("run", 0)):
        ended = run(ceramic_order(command, database), code=code, environment=environment)
        found = len(deliverable(small.contents) if command == "verify" else undelivered)
        assert f" {found:,} " in ended.out, ended.out
        assert "…" not in ended.out


def test_a_signal_leaves_the_terminal_with_a_cursor_and_one_line(
    large: Template, children: Children
) -> None:
    database, terminal = large.copy(children.folder), Terminal(80)
    slow = Faults("slow", first=500)
    child = children.start(
        database, "--batch-rows", "200", faults=slow, stdout=terminal.theirs, stderr=terminal.theirs
    )
    assert await_wal(child, database, 200_000)
    time.sleep(1)
    child.send_signal(SIGINT)
    written = terminal.read(child)
    assert child.returncode == 128 + SIGINT, written
    assert written.count("Stopped by") == 1
    assert HIDE_CURSOR in written
    assert written.rfind(SHOW_CURSOR) > written.rfind(HIDE_CURSOR), "the cursor stays hidden"


def test_a_dumb_terminal_gets_no_control_codes(small: Template, children: Children) -> None:
    database, terminal = small.copy(children.folder), Terminal(80)
    child = children.spawn(
        arguments(database), {"TERM": "dumb"}, stdout=terminal.theirs, stderr=terminal.theirs
    )
    written = terminal.read(child)
    assert child.returncode == 0, written
    assert "\x1b" not in written
    check(small.contents, read(database))
