"""The oracle notices each broken promise."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.sqlite import connect, execute
from flows.synth.events import data_event, time_event
from tests.support.job import chain, deliver, store
from tests.support.oracle import Contents, check, deliverable, read

STREAM = chain(6)
OTHER = chain(3, 2)
GAP = chain(5, 3)
FOREIGN = data_event(OTHER[0].stream, STREAM[1].cid, "in another stream")


@pytest.fixture
def ordered(tmp_path: Path) -> tuple[Path, Contents]:
    """A database before and after a run: streams half and wholly delivered, and with a gap."""
    events = [*STREAM, *OTHER, *GAP[:2], *GAP[3:], FOREIGN]
    path = store(
        tmp_path / "node.db", events, [1, 2, 4, *[None] * 3, 5, None, None, 6, *[None] * 4]
    )
    before = read(path)
    deliver(path)
    return path, before


def test_a_run_as_it_should_be_is_accepted(ordered: tuple[Path, Contents]) -> None:
    path, before = ordered
    assert (
        check(before, read(path))
        == deliverable(before)
        == {event.cid for event in (*STREAM[3:], *OTHER[1:], GAP[1])}
    )


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        (
            "UPDATE ceramic_one_event SET delivered = 3 WHERE delivered = 4",
            "an old number was changed",
        ),
        (
            "UPDATE ceramic_one_event SET delivered = NULL WHERE delivered = 2",
            "an old number was changed",
        ),
        (
            "UPDATE ceramic_one_event SET delivered = NULL WHERE delivered = 12",
            "not exactly the deliverable",
        ),
        (
            "UPDATE ceramic_one_event SET delivered = 13 WHERE delivered IS NULL AND rowid = 14",
            "not exactly the deliverable",
        ),
        (
            "UPDATE ceramic_one_event SET delivered = 13 WHERE delivered = 12",
            "not unique and dense",
        ),
        ("UPDATE ceramic_one_event SET delivered = 3 WHERE delivered = 12", "not unique and dense"),
        (
            "UPDATE ceramic_one_event SET informant = 'x' WHERE rowid = 3",
            "something but `delivered` was written",
        ),
        (
            "UPDATE ceramic_one_block SET bytes = x'00' WHERE rowid = 3",
            "something but `delivered` was written",
        ),
        (
            "UPDATE ceramic_one_event_block SET codec = 0 WHERE rowid = 3",
            "something but `delivered` was written",
        ),
        ("UPDATE _sqlx_migrations SET success = FALSE", "something but `delivered` was written"),
        (
            "UPDATE ceramic_one_event SET rowid = 99 WHERE rowid = 3",
            "something but `delivered` was written",
        ),
        ("CREATE TABLE another (a)", "something but `delivered` was written"),
        (
            "CREATE INDEX another ON ceramic_one_event (cid)",
            "something but `delivered` was written",
        ),
    ],
)
def test_a_broken_promise_is_noticed(
    ordered: tuple[Path, Contents], sql: str, complaint: str
) -> None:
    path, before = ordered
    with closing(connect(path, "rw")) as connection:
        execute(connection, sql)
    with pytest.raises(AssertionError, match=complaint):
        check(before, read(path))


def test_a_child_before_its_parent_is_noticed(ordered: tuple[Path, Contents]) -> None:
    path, before = ordered
    numbers = read(path).numbers
    parent, child = numbers[STREAM[3].cid], numbers[STREAM[4].cid]
    with closing(connect(path, "rw")) as connection:
        for old, new in ((parent, -1), (child, parent), (-1, child)):
            execute(
                connection,
                f"UPDATE ceramic_one_event SET delivered = {new} WHERE delivered = {old}",
            )  # numbers
    with pytest.raises(AssertionError, match="before its parent"):
        check(before, read(path))


def test_what_no_node_could_serve_is_not_deliverable_and_neither_is_what_is_below(
    tmp_path: Path,
) -> None:
    anchor = time_event(STREAM[0].stream, STREAM[0].cid)
    contents = read(store(tmp_path / "node.db", [*STREAM, anchor]))
    assert deliverable(contents) == {anchor.cid, *(event.cid for event in STREAM[1:])}
    assert deliverable(contents, {STREAM[2].cid}) == {anchor.cid, STREAM[1].cid}
