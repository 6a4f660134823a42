"""Other programs at the same database: waited for or named; theirs is never overwritten."""

import re
import sys
import time
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from subprocess import Popen

import pytest

from tests.crash.conftest import (
    Children,
    Faults,
    Program,
    Template,
    await_wal,
    check_numbers,
    check_rerun,
    check_stopped,
    numbers_of,
)
from tests.crash.recorded import WAL, Disk, changes_in
from tests.support.oracle import Contents, check, deliverable, read
from tests.support.program import Ended, end, python, read_line, write_line

PROGRAM = Path(__file__).with_name("other_program.py")
NODE = Path(__file__).with_name("node.py")
MANY_BATCHES = ("--batch-rows", "20", "--quiet")
"""More than 500 of them."""
IN_COMPANY: Program = "tests.crash.in_company"
SOME_BYTES = 100_000
"""How large the WAL is when another program comes."""

THEIR_CID = b"\x01\x71\x12\x20" + bytes(32)
INSERT_DELIVERED = f"""
    INSERT INTO ceramic_one_event
      (order_key, ahash_0, ahash_1, ahash_2, ahash_3, ahash_4, ahash_5, ahash_6, ahash_7,
       cid, discovered, delivered)
    SELECT x'00', 0, 0, 0, 0, 0, 0, 0, 0, x'{THEIR_CID.hex()}', 0, max(delivered) + 1
    FROM ceramic_one_event
"""  # hex
"""What a node does that receives an init event."""


class Other:
    """Another program at the database."""

    def __init__(self, children: Children, database: Path, *statements: str) -> None:
        self._child = children.spawn(python(PROGRAM, database, *statements))
        self._expect("ready")

    def enter(self) -> None:
        """Let it open the database and run its statements."""
        write_line(self._child)
        self._expect("inside")

    def leave(self) -> None:
        """Let it end its transaction and close the database."""
        write_line(self._child)
        assert end(self._child).code == 0

    def _expect(self, line: str) -> None:
        assert read_line(self._child) == line


WRITES, READS, IS_IDLE = (
    ("BEGIN IMMEDIATE",),
    ("BEGIN", "SELECT count(*) FROM ceramic_one_event"),
    ("SELECT count(*) FROM ceramic_one_event",),
)


def test_a_program_that_leaves_in_time_is_waited_for(small: Template, children: Children) -> None:
    database = small.copy(children.folder)
    other = Other(children, database, *WRITES)
    other.enter()
    child = children.start(database)
    time.sleep(1)
    other.leave()
    assert end(child).code == 0
    check(small.contents, read(database))


def test_a_run_next_to_a_program_that_stays_is_refused(small: Template, children: Children) -> None:
    started: list[tuple[Path, Other, Popen[str]]] = []
    for does in (WRITES, READS, IS_IDLE):
        folder = children.folder / str(len(started))
        folder.mkdir()
        database = small.copy(folder)
        other = Other(children, database, *does)
        other.enter()
        started.append((database, other, children.start(database)))
    for database, other, child in started:
        ended = end(child)
        assert ended.code == 2, ended
        assert f"`{database}` is open in another process" in ended.err
        assert database.read_bytes() == small.path.read_bytes()
        other.leave()
        check_rerun(small.contents, database, children)


def _start_node(children: Children, database: Path) -> Popen[str]:
    return children.spawn([sys.executable, str(NODE), str(database)])


def _frozen(child: Popen[str], database: Path, wal_bytes: int) -> None:
    """Stop a run in its midst."""
    assert await_wal(child, database, wal_bytes)
    child.send_signal(SIGSTOP)


def test_a_node_that_is_started_midway_gets_no_number_until_the_run_has_ended(
    large: Template, children: Children
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES, program="tests.crash.miniature")
    assert await_wal(child, database, SOME_BYTES)
    answers = set()
    while child.poll() is None:
        # it writes, reads and checkpoints all the while
        answers.add(end(_start_node(children, database)).out.strip())
    assert end(child).code == 0
    check(large.contents, read(database))
    highest = max(numbers_of(database).values())
    assert answers <= {"database is locked", str(highest)}


def test_a_node_next_to_an_idle_run_is_refused_after_its_timeout(
    large: Template, children: Children
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    _frozen(child, database, SOME_BYTES)
    assert end(_start_node(children, database)).out == "database is locked\n"
    child.send_signal(SIGCONT)
    assert end(child).code == 0
    check(large.contents, read(database))


@pytest.mark.parametrize("size", [1, SOME_BYTES, 10 * SOME_BYTES])
def test_a_node_can_start_at_once_when_a_run_is_killed(
    large: Template, children: Children, size: int
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    _frozen(child, database, size)
    child.kill()
    child.wait()
    highest = end(_start_node(children, database)).out
    numbers = check_stopped(large.contents, database)
    assert int(highest) == max(numbers.values())
    check_rerun(large.contents, database, children)


def test_what_reads_next_to_a_run_is_reported_of_it(large: Template, children: Children) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    _frozen(child, database, SOME_BYTES)
    ended = end(children.spawn([sys.executable, "-m", "flows", "status", str(database)]))
    assert ended.code == 2
    assert f"A `ceramic-order run` is working on `{database}`" in ended.err
    child.send_signal(SIGCONT)
    assert end(child).code == 0


@pytest.mark.parametrize("does", ["renamed", "deleted", "replaced"])
def test_a_database_that_is_renamed_deleted_or_replaced_midway_is_reported(
    large: Template, children: Children, does: str
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    _frozen(child, database, SOME_BYTES)
    match does:
        case "renamed":
            database.rename(children.folder / "elsewhere.db")
        case "deleted":
            database.unlink()
        case _:
            copy = children.folder / "copy.db"
            copy.write_bytes(large.path.read_bytes())
            copy.rename(database)
    child.send_signal(SIGCONT)
    ended = end(child)
    assert ended.code == 3, ended
    assert f"`{database}` is no longer the file that this run has open" in ended.err
    if does == "renamed":
        check(large.contents, read(children.folder / "elsewhere.db"))
    if does == "replaced":
        assert database.read_bytes() == large.path.read_bytes()


@pytest.mark.parametrize("does", [WRITES, READS], ids=["writes", "reads"])
def test_a_program_that_comes_midway_and_leaves_is_waited_for(
    large: Template, children: Children, does: tuple[str, ...]
) -> None:
    database = large.copy(children.folder)
    other = Other(children, database, *does)
    child = children.start(database, *MANY_BATCHES, program=IN_COMPANY)
    assert await_wal(child, database, SOME_BYTES)
    other.enter()
    time.sleep(1)
    other.leave()
    assert end(child).code == 0
    check(large.contents, read(database))


def test_a_writer_that_comes_midway_and_stays_ends_the_run_between_batches(
    large: Template, children: Children
) -> None:
    database = large.copy(children.folder)
    other = Other(children, database, *WRITES)
    child = children.start(database, *MANY_BATCHES, program=IN_COMPANY)
    assert await_wal(child, database, SOME_BYTES)
    other.enter()
    ended = end(child)
    other.leave()
    assert ended.code == 3, ended
    assert "database is locked" in ended.err
    new = len(check_stopped(large.contents, database)) - large.contents.highest
    assert ended.kept() == new > 0
    check_rerun(large.contents, database, children)


def _run_next_to(other: Other, children: Children, database: Path) -> Ended:
    """A run that stops, because the other program has done its work while batches were written."""
    child = children.start(database, *MANY_BATCHES, program=IN_COMPANY)
    assert await_wal(child, database, SOME_BYTES)
    other.enter()
    other.leave()
    ended = end(child)
    assert ended.code == 3, ended
    return ended


def test_a_program_that_numbers_events_midway_is_named_and_keeps_its_number(
    large: Template, children: Children
) -> None:
    database = large.copy(children.folder)
    other = Other(children, database, "BEGIN IMMEDIATE", INSERT_DELIVERED)
    ended = _run_next_to(other, children, database)
    assert f"Another process numbers events in `{database}`" in ended.err
    now = numbers_of(database)
    theirs = now.pop(THEIR_CID)
    check_numbers(large.contents, now)
    new = len(now) - large.contents.highest
    assert ended.kept() == new > 0
    assert theirs == large.contents.highest + new + 1
    stopped = read(database)
    assert children.run(database).code == 0
    check(stopped, read(database))


def test_a_program_that_delivers_events_midway_is_named_and_keeps_their_numbers(
    large: Template, children: Children
) -> None:
    database = large.copy(children.folder)
    deliver_all = "UPDATE ceramic_one_event SET delivered = -rowid WHERE delivered IS NULL"
    other = Other(children, database, "BEGIN IMMEDIATE", deliver_all)
    ended = _run_next_to(other, children, database)
    assert "another process deletes or delivers events" in ended.err
    now = numbers_of(database)
    ours = {cid: number for cid, number in now.items() if number > 0}
    check_numbers(large.contents, ours)
    assert ended.kept() == len(ours) - large.contents.highest > 0
    assert len(now) == len(large.contents.numbers)


def _stuck(contents: Contents) -> list[bytes]:
    """Undelivered events that can't be delivered."""
    undelivered = {cid for cid, number in contents.numbers.items() if number is None}
    return sorted(undelivered - deliverable(contents))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE ceramic_one_event SET delivered = -rowid WHERE cid = x'{cid}'", "are gone or"),
        ("DELETE FROM ceramic_one_event WHERE cid = x'{cid}'", "are gone or delivered"),
        (
            (
                "INSERT INTO ceramic_one_event (rowid, order_key, ahash_0, ahash_1, ahash_2,"
                " ahash_3, ahash_4, ahash_5, ahash_6, ahash_7, cid)"
                " VALUES (-5, x'00', 0, 0, 0, 0, 0, 0, 0, 0, x'00')"
            ),
            "another program inserted them meanwhile, or the index is damaged",
        ),
    ],
    ids=["delivers", "deletes", "inserts"],
)
def test_a_program_that_changes_events_midway_is_reported_as_one_and_a_rerun_finishes(
    large: Template, children: Children, statement: str, words: str
) -> None:
    database = large.copy(children.folder)
    change = statement.format(cid=_stuck(large.contents)[0].hex())
    other = Other(children, database, "BEGIN IMMEDIATE", change)
    ended = _run_next_to(other, children, database)
    assert words in ended.err
    assert "`-" not in ended.err
    assert ended.kept() == len(deliverable(large.contents))
    stopped = read(database)
    assert children.run(database).code == 0
    check(stopped, read(database))


def test_a_reader_that_stays_leaves_numbers_in_a_synced_wal_and_is_reported(
    small: Template, children: Children
) -> None:
    database, changes = small.copy(children.folder), children.folder / "changes"
    other = Other(children, database, *READS)
    # for five seconds, in which the reader comes
    recorded = Faults("slow", times=250, changes=changes)
    child = children.start(database, "--batch-rows", "40", program=IN_COMPANY, faults=recorded)
    assert await_wal(child, database, 1)
    other.enter()
    ended = end(child)
    assert ended.code == 0, ended
    left = re.search(r"`node.db-wal` holds ([\d,]+) bytes that another program keeps", ended.err)
    assert left is not None, ended.err
    assert "it belongs to the database" in ended.err
    wal = database.with_name("node.db-wal")
    assert 0 < int(left[1].replace(",", "")) <= wal.stat().st_size
    disk = Disk(small.path.read_bytes())
    for one in changes_in(changes.read_bytes()):
        disk.change(one)
    assert not [one for one in disk.unsynced[WAL] if one.call == b"w"]
    other.leave()
    check(small.contents, read(database))


def test_a_second_run_is_refused_and_the_first_goes_on(large: Template, children: Children) -> None:
    database = large.copy(children.folder)
    first = children.start(database, *MANY_BATCHES)
    assert await_wal(first, database, SOME_BYTES)
    other_name = children.folder / "link.db"
    other_name.symlink_to(database)
    first.send_signal(SIGSTOP)
    second = children.run(other_name)
    first.send_signal(SIGCONT)
    assert second.code == 2, second
    assert f"Another `ceramic-order run` is working on `{database}`" in second.err
    assert end(first).code == 0
    check(large.contents, read(database))


def test_of_runs_started_at_once_one_does_the_job_and_the_others_are_refused_or_find_it_done(
    small: Template, children: Children
) -> None:
    database = small.copy(children.folder)
    runs = [children.start(database, "--batch-rows", "40") for _ in range(4)]
    codes = [end(run).code for run in runs]
    assert 0 in codes
    assert set(codes) <= {0, 2}
    check(small.contents, read(database))


def test_a_run_again_changes_no_byte(small: Template, children: Children) -> None:
    database = small.copy(children.folder)
    first = children.run(database, "--json").document
    left = database.read_bytes()
    again = children.run(database, "--json").document
    assert again["delivered"] == 0
    assert again["discovered"] == again["waiting"] == first["waiting"] > 0
    assert database.read_bytes() == left
    assert [path.name for path in children.folder.iterdir()] == [database.name]
