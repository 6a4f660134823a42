"""Values of other types, and the largest and smallest, in any column that is read."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.sqlite import connect, execute
from flows.jobs.options import RunOptions
from flows.jobs.replay import replay
from flows.jobs.run import dry_run, run
from flows.jobs.run_result import RunResult
from flows.jobs.status import status
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of

EVENTS, LISTED, BLOCKS = "ceramic_one_event", "ceramic_one_event_block", "ceramic_one_block"
MIN, MAX = "-9223372036854775807 - 1", "9223372036854775807"
"""The smallest and the largest integer in SQLite."""
ALL: tuple[int, dict[str, int]] = (5, {})
"""Everything is delivered, and nothing left."""

NOT_LISTED = "a block is not listed for it"
LAST_IS_NO_EVENT_ID: tuple[int, dict[str, int]] = (4, {"order key is no event id": 1})


def _changed(path: Path, change: str) -> Path:
    """A stream of an init event and five data events, delivered is the first, and one change.

    The blocks of the second event are in the rows 3 and 4.
    """
    database = store(path, chain(6))
    with closing(connect(database, "rw")) as connection:
        execute(connection, f"UPDATE {change}")  # of this module
    return database


def _counts(result: RunResult) -> tuple[int, dict[str, int]]:
    return result.run_state.delivered, dict(result.run_state.reasons)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (f"{EVENTS} SET init_cid = 5 WHERE rowid = 1", ALL),
        (f"{EVENTS} SET init_cid = 5 WHERE rowid = 2", ALL),
        (f"{EVENTS} SET init_cid = 'x' WHERE rowid = 2", ALL),
        (f"{EVENTS} SET cid = 7 WHERE rowid = 3", None),
        (f"{EVENTS} SET cid = 'text' WHERE rowid = 3", None),
        (f"{EVENTS} SET order_key = 'k' WHERE rowid = 2", None),
        (f"{EVENTS} SET order_key = '' WHERE rowid = 6", LAST_IS_NO_EVENT_ID),
        (f"{EVENTS} SET order_key = CAST(order_key AS TEXT) WHERE rowid = 6", LAST_IS_NO_EVENT_ID),
        (f"{EVENTS} SET rowid = {MAX} WHERE rowid = 3", ALL),
        (f"{EVENTS} SET rowid = {MIN} WHERE rowid = 3", ALL),
        (f"{BLOCKS} SET bytes = 5 WHERE rowid = 3", None),
        (f"{BLOCKS} SET bytes = 5.5 WHERE rowid = 4", None),
        (f"{BLOCKS} SET rowid = {MAX} WHERE rowid = 3", ALL),
        (f"{BLOCKS} SET rowid = {MIN} WHERE rowid = 3", ALL),
        (f"{BLOCKS} SET multihash = 3 WHERE rowid = 3", None),
        (f"{LISTED} SET rowid = {MAX} WHERE rowid = 3", ALL),
        (f"{LISTED} SET rowid = {MIN} WHERE rowid = 3", ALL),
        (f"{LISTED} SET codec = 'a' WHERE rowid = 3", None),
        (f"{LISTED} SET codec = x'00' WHERE rowid = 4", None),
        (f"{LISTED} SET codec = 1e300 WHERE rowid = 4", None),
        (f"{LISTED} SET root = 'a' WHERE rowid = 3", None),
        (f"{LISTED} SET root = x'01' WHERE rowid = 4", None),
        (f"{LISTED} SET block_multihash = 3 WHERE rowid = 3", None),
        (f"{LISTED} SET event_cid = 'a' WHERE rowid = 3", None),
        (f"{EVENTS} SET delivered = -5 WHERE rowid = 1", ALL),
        (f"{EVENTS} SET delivered = {MIN} WHERE rowid = 1", ALL),
    ],
)
def test_a_value_of_another_type_costs_at_most_its_event_and_what_follows_it(
    tmp_path: Path, change: str, left: tuple[int, dict[str, int]] | None
) -> None:
    (tmp_path / "store").mkdir()
    path = _changed(tmp_path / "store" / "node.db", change)
    before = bytes_of(path.parent)
    foretold = _counts(dry_run(path, RunOptions()))
    assert _counts(replay(path, tmp_path / "out", RunOptions()).run) == foretold
    assert status(path).undelivered == 5
    assert bytes_of(path.parent) == before
    assert _counts(run(path, RunOptions())) == foretold
    delivered, reasons = foretold
    assert delivered + sum(reasons.values()) == 5
    assert left is None or foretold == left


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (f"{EVENTS} SET order_key = NULL WHERE rowid = 6", LAST_IS_NO_EVENT_ID),
        (f"{EVENTS} SET cid = NULL WHERE rowid > 4", (3, {"root block missing": 2})),
        (f"{BLOCKS} SET bytes = NULL WHERE rowid = 11", (4, {"payload block missing": 1})),
        (f"{BLOCKS} SET multihash = NULL WHERE rowid = 12", (4, {"root block missing": 1})),
        (f"{LISTED} SET event_cid = NULL WHERE rowid = 12", (4, {NOT_LISTED: 1})),
        (f"{LISTED} SET codec = NULL WHERE rowid = 12", (4, {"event blocks unreadable": 1})),
        (f"{LISTED} SET root = NULL WHERE rowid = 12", (4, {"event blocks unreadable": 1})),
    ],
)
def test_a_null_of_a_damaged_page_stops_its_own_events_only(
    tmp_path: Path, change: str, left: tuple[int, dict[str, int]]
) -> None:
    path = _changed(tmp_path / "node.db", f"{EVENTS} SET discovered = 0")
    with closing(connect(path, "rw")) as connection:
        execute(connection, "PRAGMA writable_schema = ON")
        execute(connection, "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
    with closing(connect(path, "rw")) as connection:
        execute(connection, f"UPDATE {change}")  # of this module
    replayed = replay(path, tmp_path / "out", RunOptions(), verified=True)
    assert _counts(replayed.run) == left
    assert replayed.verification is not None
    assert replayed.verification.is_good
    assert _counts(run(path, RunOptions())) == left
