"""`run --follow`: whatever other programs insert is delivered once its parent is."""

import json
import re
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from connectors.errors import InterruptedRunError
from flows.jobs.follow import FollowSettings, follow
from flows.jobs.options import RunOptions
from tests.support.following import (
    PATIENCE,
    UNDELIVERED,
    check_followed,
    copying,
    empty,
    following,
    insert,
    stop,
    until,
)
from tests.support.job import chain, store
from tests.support.oracle import check, read
from tests.support.other_programs import execute_elsewhere, holding
from tests.support.program import ceramic_order, end, python, ready, run, write_line


def test_the_first_look_is_a_run(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    before = read(path)
    with following(path, "--json") as child:
        ended = stop(child)
    assert not path.with_name("node.db-wal").exists()
    assert len(check(before, read(path))) == 4
    document = json.loads(ended.out)
    assert (document["delivered"], document["follow"]) == (4, {"interval": 0.05, "gone": 0})


def test_an_event_waits_for_its_parent_and_goes_when_it_comes(tmp_path: Path) -> None:
    path = empty(tmp_path / "node.db")
    events = chain(6)
    with following(path, "--json") as child:
        for event in (events[5], events[4], events[2], events[1]):
            insert(path, [event])
        insert(path, [events[0]])
        until(path, "SELECT max(delivered) FROM ceramic_one_event", 3)
        insert(path, [events[3]])
        until(path, UNDELIVERED, 0)
        ended = stop(child)
    assert len(check_followed(path, 0)) == 6
    document = json.loads(ended.out)
    assert (document["discovered"], document["delivered"], document["waiting"]) == (6, 6, 0)


def test_a_parent_that_was_delivered_before_the_start_is_found(tmp_path: Path) -> None:
    events = chain(4)
    path = store(tmp_path / "node.db", events[:2], [7, 9])
    with following(path) as child:
        insert(path, events[3:])
        insert(path, events[2:3])
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 9)) == 2


@pytest.mark.parametrize(
    ("table", "checked"),
    [
        ("ceramic_one_block", "node"),
        ("ceramic_one_block", "links"),
        ("ceramic_one_event_block", "node"),
    ],
)
def test_a_block_that_comes_late_makes_its_event_readable(
    tmp_path: Path, table: str, checked: str
) -> None:
    events = chain(4)
    path = store(tmp_path / "node.db", events)
    whole = tmp_path / "whole.db"
    store(whole, events)
    condition = {
        "ceramic_one_block": f"multihash = x'{events[1].blocks[-1].multihash.hex()}'",
        "ceramic_one_event_block": f"event_cid = x'{events[1].cid.hex()}'",
    }[table]
    execute_elsewhere(path, f"DELETE FROM {table} WHERE {condition}")
    with following(path, "--check", checked) as child:
        until(path, UNDELIVERED, 3)
        columns = {
            "ceramic_one_block": "multihash, bytes",
            "ceramic_one_event_block": "event_cid, block_multihash, codec, idx, root",
        }[table]
        execute_elsewhere(
            path,
            f"ATTACH '{whole}' AS whole",
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM whole.{table}"
            f" WHERE {condition}",
        )
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 1)) == 3


def test_rows_come_at_any_rowid(tmp_path: Path) -> None:
    events = chain(5)
    path = store(tmp_path / "node.db", events)
    with following(path) as child:
        execute_elsewhere(path, "UPDATE ceramic_one_event SET rowid = rowid + 1000")
        insert(path, chain(3, 1))
        # below all others, and at the rowid of one that was deleted
        execute_elsewhere(
            path,
            "UPDATE ceramic_one_event SET rowid = -5 WHERE rowid = (SELECT max(rowid)"
            " FROM ceramic_one_event WHERE delivered IS NULL)",
        )
        insert(path, chain(3, 2))
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 1)) == 10


def test_rows_that_a_vacuum_moves_are_found(tmp_path: Path) -> None:
    first, second = chain(5), chain(5, 1)
    path = store(tmp_path / "node.db", [*first[:1], *second[:1], *first[2:], *second[2:]])
    with following(path) as child:
        # what is left moves to the rowids of others
        execute_elsewhere(
            path,
            "UPDATE ceramic_one_event SET rowid = rowid * 3 WHERE delivered IS NULL",
            "VACUUM",
        )
        insert(path, second[1:2])
        until(path, UNDELIVERED, 3)
        execute_elsewhere(path, "CREATE TABLE other (value)")
        insert(path, first[1:2])
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 2)) == 8


SWAP = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in sys.argv[2:]:
    connection.execute(sql)
print("held", flush=True)
sys.stdin.readline()
connection.execute("UPDATE ceramic_one_event SET rowid = -rowid WHERE delivered IS NULL")
connection.execute("UPDATE ceramic_one_event SET rowid = 7 + rowid WHERE rowid < 0")
connection.execute("COMMIT")
"""
"""Lets rows be read, and gives them to other events before they can be written."""


def test_rows_that_become_other_events_before_they_are_written_are_read_again(
    tmp_path: Path,
) -> None:
    path, whole = store(tmp_path / "node.db", chain(1)), store(tmp_path / "whole.db", chain(5))
    program = python("-c", SWAP, path, *copying(whole), "BEGIN IMMEDIATE")
    with following(path, interval=0.5) as child:
        with ready(program) as swapping:
            time.sleep(2)
            write_line(swapping)
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 1)) == 4


RESTLESS = """
import select, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
print("held", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    connection.execute("CREATE TABLE other (value)")
    connection.execute("DROP TABLE other")
"""
"""Changes the schema between any read and the write that belongs to it, until its input ends."""


@pytest.mark.soak
def test_where_the_schema_changes_all_the_time_follow_gives_up_and_a_rerun_finishes(
    tmp_path: Path,
) -> None:
    path = store(tmp_path / "node.db", chain(5))
    with ready(python("-c", RESTLESS, path)):
        ended = run(ceramic_order("run", path, "--follow"), code=3, seconds=300)
    assert "change faster than they can be delivered" in ended.err
    assert "or the schema changed" in ended.err
    run(ceramic_order("run", path))
    assert len(check_followed(path, 1)) == 4


def test_an_event_that_is_deleted_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    events = chain(4)
    path = store(tmp_path / "node.db", events[:1])
    with following(path, "--json") as child:
        insert(path, events[2:])
        until(path, UNDELIVERED, 2)
        time.sleep(0.2)
        execute_elsewhere(
            path, f"DELETE FROM ceramic_one_event WHERE cid = x'{events[3].cid.hex()}'"
        )
        insert(path, events[1:2])
        until(path, UNDELIVERED, 0)
        ended = stop(child)
    assert len(check_followed(path, 1)) == 2
    document = json.loads(ended.out)
    assert document["discovered"] == document["delivered"] + document["follow"]["gone"]


@pytest.mark.soak
def test_a_block_that_is_mended_in_place_is_seen(tmp_path: Path) -> None:
    events = chain(3)
    path = store(tmp_path / "node.db", events)
    block = events[1].blocks[-1]
    update = "UPDATE ceramic_one_block SET bytes = x'{}' WHERE multihash = x'{}'"
    execute_elsewhere(path, update.format("00", block.multihash.hex()))
    with following(path) as child:
        time.sleep(1)
        execute_elsewhere(path, update.format(block.content.hex(), block.multihash.hex()))
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 1)) == 2


def test_metrics_and_json_lines_go_on_while_it_follows(
    tmp_path: Path, unused_ports: tuple[int, int]
) -> None:
    events = chain(4)
    path = store(tmp_path / "node.db", events[:2])
    port = unused_ports[0]
    with following(path, "--metrics", str(port), "--log", "json") as child:
        insert(path, events[3:])
        await_metric(port, 'ceramic_order_waiting_events{reason="prev missing"} 1.0')
        insert(path, events[2:3])
        await_metric(port, "ceramic_order_delivered_events_total 3.0")
        for line in ("lag_rows 0.0", "pending_events 0.0", "last_number 4.0"):
            await_metric(port, f"ceramic_order_{line}")
        ended = stop(child)
    (done,) = [json.loads(line) for line in ended.err.splitlines()]
    assert (done["event"], done["delivered"]) == ("done", 3)


def await_metric(port: int, line: str) -> None:
    """Wait until this line is served."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            served = answer.read().decode()
        if line in served.splitlines():
            return
        assert time.monotonic() < deadline, (line, served)
        time.sleep(0.02)


NUMBER_ONE = """
    UPDATE ceramic_one_event
    SET delivered = 1 + (SELECT max(delivered) FROM ceramic_one_event)
    WHERE rowid = (SELECT min(rowid) FROM ceramic_one_event WHERE delivered IS NULL)
"""


@pytest.mark.parametrize(
    "theirs", [NUMBER_ONE, "DELETE FROM ceramic_one_event WHERE delivered = 2"]
)
def test_another_that_numbers_events_is_noticed(tmp_path: Path, theirs: str) -> None:
    path = store(tmp_path / "node.db", chain(2))
    with following(path, "--json") as child:
        insert(path, chain(4, 1)[2:])
        execute_elsewhere(path, theirs)
        ended = end(child)
    theirs_and_ours = read(path)
    assert ended.code == 3, ended
    error = ended.document["error"]
    assert error["what"] == f"Another process numbers events in `{path}`"
    assert error["unchanged"] == "`1` event in `1` whole batch is delivered and kept."
    # the rerun goes on above all that is there, and changes none of it
    with following(path) as child:
        stop(child)
    check(theirs_and_ours, read(path))


@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_second_run_on_a_followed_database_is_refused(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    path = store(tmp_path / "node.db", chain(2))
    with following(path) as child:
        refused = run(ceramic_order("run", path, *more), code=2)
        assert "Another `ceramic-order run` is working on" in refused.err
        run(ceramic_order("status", path))
        stop(child)


def test_a_database_that_is_replaced_while_it_is_followed_is_noticed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(2))
    other = store(tmp_path / "other.db", chain(3))
    with following(path) as child:
        other.rename(path)
        ended = end(child)
    assert ended.code == 3, ended
    assert "is no longer the file that this run has open" in ended.err


def test_a_transaction_of_another_program_is_waited_for(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(1))
    with following(path) as child:
        insert(path, chain(3)[2:])
        with holding(path, "BEGIN IMMEDIATE", "UPDATE ceramic_one_event SET informant = 'x'"):
            time.sleep(0.5)
        insert(path, chain(3)[1:2])
        until(path, UNDELIVERED, 0)
        stop(child)


def test_a_transaction_that_stays_ends_it_and_a_rerun_finishes(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(4))
    before = read(path)
    impatient = FollowSettings(0.05, busy_seconds=0.3)
    with (
        holding(path, "BEGIN IMMEDIATE", "UPDATE ceramic_one_event SET informant = 'x'"),
        pytest.raises(InterruptedRunError, match="database is locked") as raised,
    ):
        follow(path, RunOptions(quiet=True), impatient)
    assert raised.value.unchanged == "`0` events in `0` whole batches are delivered and kept."
    run(ceramic_order("run", path))
    check(before, read(path))


def test_a_program_that_has_the_database_open_is_no_reason_not_to_start(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(4))
    with holding(path, "SELECT count(*) FROM ceramic_one_event"), following(path) as child:
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 1)) == 3


@pytest.mark.parametrize(
    "options",
    [
        ("--follow", "--dry-run"),
        ("--follow", "--report", "left"),
        ("--follow", "--html", "page.html"),
        ("--interval", "1"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = store(tmp_path / "node.db", chain(2))
    refused = run(ceramic_order("run", path, *options), code=2)
    assert re.match(r"Error: `--[a-z-]+` (can't be combined with|is for) `--follow`", refused.err)


def test_a_replay_has_no_follow(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(2))
    refused = run(ceramic_order("replay", path, "--out", tmp_path / "o", "--follow"), code=2)
    assert "No such option '--follow'" in refused.err
