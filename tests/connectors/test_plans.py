"""Each statement has the plan that keeps its cost in proportion, whatever `sqlite_stat1` says."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors import blocks, event_blocks, fingerprint, news, sink, undelivered
from connectors.lookup import BLOCK, EVENT_WITH_BLOCKS, delivered_inits, known_event
from connectors.page_sizes import PageSizes
from connectors.plans import indexed_by, rows_between
from connectors.sqlite import connect, execute, query
from flows.synth.schema import SchemaVersion
from tests.support.job import chain, deliver, store

STATISTICS = {
    "none": None,
    "of an empty table": "0 0 0",
    "of one row": "1 1 1",
    "of two rows": "2 1 1",
    "of three rows": "3 3 1",
    "of eight rows": "8 1 1",
    "of a hundred rows": "100 100 100",
    "of a small table of distinct values": "10 1 1",
    "of a large table": "100000000000 1 1",
    "of a large table of one value": "1000000 1000000 1000000",
    "of rows of no size": "1 1 sz=1",
    "of large rows": "1000 1 sz=100000000",
    "damaged": "no numbers",
    "negative": "-5 -5",
}
"""What the column `stat` holds for every index; the first is what a new database has."""

BY_INDEX = r"SEARCH \w+ USING (COVERING )?INDEX \w+ \({}\)"
BY_ROWIDS = r"SEARCH \w+ USING INTEGER PRIMARY KEY \(rowid>\? AND rowid<\?\)"
STEP_BY_STEP = r"SEARCH \w+ USING INTEGER PRIMARY KEY \(rowid=\?\)"

Statement = Callable[[Any], str]

PLANS: dict[str, tuple[Statement, str]] = {
    "the next event": (undelivered.next_undelivered, BY_INDEX.format(r"delivered=\? AND rowid>\?")),
    "events": (undelivered.undelivered, BY_INDEX.format(r"delivered=\? AND rowid>\? AND rowid<\?")),
    "the row of a block": (lambda _: blocks.ROW, BY_INDEX.format(r"multihash=\?")),
    "a block": (lambda _: blocks.SIZED_BLOCK.format(1), BY_INDEX.format(r"multihash=\?")),
    "rows of event blocks": (event_blocks.extent, BY_INDEX.format(r"event_cid=\?")),
    "event blocks": (event_blocks.of_event, BY_INDEX.format(r"event_cid=\?")),
    "a shared block": (lambda _: BLOCK, BY_INDEX.format(r"multihash=\?")),
    "an event that another program inserted": (
        lambda _: news.CID_OF,
        STEP_BY_STEP,
    ),
    "an event that is delivered": (lambda _: sink.SET_DELIVERED, STEP_BY_STEP),
    "a parent": (lambda _: known_event(has_init_cid=True), BY_INDEX.format(r"cid=\?")),
}


def with_statistics(path: Path, stat: str | None) -> Path:
    """The database, with these statistics of all its indices."""
    if stat is not None:
        with closing(connect(path, "rw")) as connection:
            execute(connection, "ANALYZE")
            execute(connection, f"UPDATE sqlite_stat1 SET stat = '{stat}'")  # a constant
    return path


def plan(connection: Any, statement: str) -> list[str]:
    """The steps of SQLite's plan that touch a table of the database."""
    steps = query(connection, f"EXPLAIN QUERY PLAN {statement}", (b"",) * statement.count("?"))
    return [step for step in steps["detail"].to_pylist() if "ceramic_one" in step or "TEMP" in step]


@pytest.mark.parametrize("stat", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("version", ["v0.30", "v0.38"])
def test_statements_keep_their_plan_whatever_the_statistics_say(
    tmp_path: Path, version: SchemaVersion, stat: str | None
) -> None:
    events = [*chain(30, 1), *chain(30, 2)]
    delivered = [*range(1, 31), *[None] * 30]
    path = store(tmp_path / "node.db", events, delivered, schema_version=version)
    with closing(connect(with_statistics(path, stat))) as connection:
        for name, (statement, wanted) in PLANS.items():
            if name == "a parent" and version == "v0.30":
                continue
            found = plan(connection, statement(connection))
            assert re.fullmatch(wanted, "; ".join(found)), name
        ranges = [
            rows_between(connection, "ceramic_one_block", blocks.COLUMNS, "rowid % 2"),
            rows_between(connection, event_blocks.TABLE, event_blocks.COLUMNS),
            event_blocks.joined_range(connection) or "",
            news.new_blocks(connection),
            news.new_event_blocks(connection),
            fingerprint.sample(connection),
            *([delivered_inits(connection)] if version != "v0.30" else []),
        ]
        for ranged in ranges:
            found = plan(connection, ranged)
            assert all(re.fullmatch(f"{BY_ROWIDS}|{STEP_BY_STEP}", step) for step in found)
        found = plan(connection, EVENT_WITH_BLOCKS)
        assert all(step.startswith("SEARCH ") for step in found)


@pytest.mark.parametrize("stat", ["1 1 1", "3 3 1", "1000000 1000000 1000000"])
def test_rows_are_read_alike_by_every_plan(tmp_path: Path, stat: str) -> None:
    path = store(tmp_path / "node.db", chain(60))
    with closing(connect(path, "rw")) as connection:
        execute(connection, "DELETE FROM ceramic_one_block WHERE rowid % 7 = 0")
        wanted = query(
            connection,
            "SELECT multihash, bytes FROM ceramic_one_block "
            "WHERE rowid BETWEEN 10 AND 90 AND length(bytes) < 250 ORDER BY rowid",
        )
    with closing(connect(with_statistics(path, stat))) as connection:
        statement = rows_between(
            connection, "ceramic_one_block", blocks.COLUMNS, "length(bytes) < 250"
        )
        assert 0 < wanted.num_rows < 81
        assert query(connection, statement, (10, 90)).equals(wanted)


def test_event_blocks_are_read_alike_by_every_plan(tmp_path: Path) -> None:
    events = chain(60)
    cids = pa.array([event.cid for event in events], pa.binary())
    found = []
    for at, stat in enumerate([None, "1 1 1", "3 3 1"]):
        path = with_statistics(store(tmp_path / f"{at}.db", events), stat)
        with (
            closing(connect(path)) as connection,
            closing(event_blocks.EventBlockReader(connection, PageSizes())) as reader,
        ):
            found.append(reader.read(cids))
    assert all(found[0].to_pylist())
    assert all(each.equals(found[0]) for each in found)


@pytest.mark.parametrize("stat", ["1 1 1", "5 1 1"])
def test_a_database_with_young_statistics_is_delivered(tmp_path: Path, stat: str) -> None:
    path = with_statistics(store(tmp_path / "node.db", chain(40)), stat)
    assert deliver(path).delivered == 39


def test_a_table_without_the_index_is_read_without_it(tmp_path: Path) -> None:
    with closing(connect(store(tmp_path / "node.db", chain(2)))) as connection:
        assert indexed_by(connection, "ceramic_one_event", "ahash_0") == ""
        assert "INDEXED BY" in indexed_by(connection, "ceramic_one_event", "delivered")
