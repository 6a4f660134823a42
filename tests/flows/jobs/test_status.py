"""Status counts what a database holds, and what a run would leave of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows.jobs.left import left
from flows.jobs.options import RunOptions
from flows.jobs.run import run
from flows.jobs.status import KindCounts, status
from flows.synth.events import data_event, init_event, time_event
from flows.synth.schema import SchemaVersion
from operators.encoding.cid import cid_text
from tests.support.job import chain, store
from tests.support.oracle import read
from tests.support.other_programs import bytes_of, execute_elsewhere, kept_open, leave_a_wal
from tests.support.program import ceramic_order
from tests.support.program import run as run_program
from tests.support.strategies import Forest, check_forests

VERSIONS: dict[SchemaVersion, str] = {
    "v0.30": "before v0.36",
    "v0.36": "v0.36 or v0.37",
    "v0.38": "v0.38 or later",
}


def test_an_empty_database_holds_nothing(tmp_path: Path) -> None:
    found = status(store(tmp_path / "node.db", []))
    assert (found.events, found.streams, found.undelivered, found.highest_number) == (0, 0, 0, None)


@pytest.mark.parametrize("schema_version", VERSIONS)
def test_events_are_counted_by_kind_in_every_version_of_the_schema(
    tmp_path: Path, schema_version: SchemaVersion
) -> None:
    signed, unsigned = init_event(1), init_event(2, signed=False)
    change = data_event(signed.stream, signed.cid, None)
    anchor = time_event(signed.stream, change.cid)
    late = data_event(unsigned.stream, unsigned.cid, None)
    events = [signed, unsigned, change, anchor, late]
    found = status(
        store(tmp_path / "node.db", events, [5, 6, 9, None, None], schema_version=schema_version)
    )
    assert found.kinds == {
        "init": KindCounts(1, 0),
        "unsigned init": KindCounts(1, 0),
        "data": KindCounts(2, 1),
        "time": KindCounts(1, 1),
        "other": KindCounts(0, 0),
    }
    assert (found.events, found.streams, found.undelivered, found.highest_number) == (5, 2, 2, 9)
    assert found.schema.version == VERSIONS[schema_version]
    assert found.estimated == (5 if schema_version == "v0.30" else 0)


def test_rows_of_chain_proofs_are_counted_next_to_the_time_events(tmp_path: Path) -> None:
    init = init_event(1)
    events = [init, time_event(init.stream, init.cid)]
    path = store(tmp_path / "node.db", events)
    assert status(path).chain_proofs is None
    out = run_program(ceramic_order("status", path)).out
    assert "chain proofs    no table for them (before v0.55)" in out
    execute_elsewhere(
        path,
        "CREATE TABLE ceramic_one_chain_proof (id)",
        "INSERT INTO ceramic_one_chain_proof VALUES (1), (2)",
    )
    assert status(path).chain_proofs == 2
    out = run_program(ceramic_order("status", path)).out
    assert "chain proofs    2, for 1 time event" in out


def test_events_whose_stream_was_not_noted_are_counted_as_estimated(tmp_path: Path) -> None:
    stream = chain(4)
    found = status(
        store(tmp_path / "node.db", stream, without_init_cid=[event.cid for event in stream[:3]])
    )
    assert found.estimated == 3
    assert (found.kinds["init"], found.kinds["data"]) == (KindCounts(1, 0), KindCounts(3, 3))


@pytest.mark.parametrize("databases", [10, pytest.param(300, marks=pytest.mark.soak)])
def test_it_counts_what_is_there_and_foretells_what_a_run_leaves(
    tmp_path: Path, databases: int
) -> None:
    check_forests(check_status, tmp_path, databases)


def check_status(forest: Forest, path: Path) -> None:
    """Check the counts of a database, and compare what a run leaves with what was foretold."""
    forest.store(path)
    before = read(path)
    kept = path.read_bytes()
    found = status(path, reasons=RunOptions())
    assert path.read_bytes() == kept
    stored = [forest.events[row] for row in forest.rows]
    assert {
        kind: counts.events for kind, counts in found.kinds.items() if counts.events
    } == Counter(event.kind for event in stored)
    assert found.undelivered == sum(number is None for number in before.numbers.values())
    assert found.highest_number == (before.highest or None)
    assert found.left is not None
    foretold = found.left
    result = run(path, RunOptions())
    assert foretold.run.run_state.delivered == result.run_state.delivered
    assert foretold.run.run_state.reasons == result.run_state.reasons
    assert left(path, RunOptions()).run.run_state.reasons == result.run_state.reasons
    stuck = Counter(
        row["stream"] for row in foretold.events.to_pylist() if row["stream"] is not None
    )
    assert Counter({row["stream"]: row["events"] for row in foretold.stuck_streams}) == Counter(
        {cid_text(stream): events for stream, events in stuck.items()}
    )


def test_the_largest_stuck_streams_come_first_with_the_reason_of_most(tmp_path: Path) -> None:
    streams = [chain(length, length) for length in range(3, 16)]
    events = [event for stream in streams for at, event in enumerate(stream) if at != 1]
    stray = data_event(streams[-1][0].stream, streams[0][0].cid, None)
    found = left(store(tmp_path / "node.db", [*events, stray]), RunOptions())
    expected = [(cid_text(stream[0].cid), len(stream) - 2) for stream in reversed(streams)][:10]
    expected[0] = (expected[0][0], expected[0][1] + 1)
    assert [(row["stream"], row["events"]) for row in found.stuck_streams] == expected
    assert {row["reason"] for row in found.stuck_streams} == {"prev missing"}
    largest = found.stuck_streams[0]
    assert largest["cause"] == cid_text(streams[-1][1].cid), "the event that is missing"
    assert largest["waits"] == cid_text(streams[-1][2].cid), "the first one that waits"


def test_a_live_node_is_seen_and_its_database_not_changed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    assert not status(path).in_use
    with kept_open(path):
        found = status(path, reasons=RunOptions())
        assert found.in_use
        assert found.events == 4
    assert not status(path).in_use


def test_what_a_killed_node_left_is_counted_and_not_a_byte_changed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    leave_a_wal(path)
    before = bytes_of(tmp_path)
    found = status(path, reasons=RunOptions())
    assert (found.events, found.in_use) == (4, False)
    assert bytes_of(tmp_path) == before


def without_plan(document: dict[str, Any]) -> dict[str, Any]:
    """The document but for its plan, which depends on the machine."""
    plan = document.pop("plan")
    assert plan["undelivered"] == document["undelivered"]
    return document


def test_the_document_is_the_documented_one(tmp_path: Path) -> None:
    stream = chain(4)
    path = store(tmp_path / "node.db", [stream[0], *stream[2:]])
    document = {
        "database": str(path),
        "in_use": False,
        "schema": {"migration": 20240809205108, "version": "v0.38 or later"},
        "events": 3,
        "streams": 1,
        "delivered": 1,
        "undelivered": 2,
        "highest_number": 1,
        "kinds": {
            "init": {"events": 1, "undelivered": 0},
            "unsigned init": {"events": 0, "undelivered": 0},
            "data": {"events": 2, "undelivered": 2},
            "time": {"events": 0, "undelivered": 0},
            "other": {"events": 0, "undelivered": 0},
        },
        "chain_proofs": None,
        "estimated": 0,
        "left": None,
    }
    assert without_plan(run_program(ceramic_order("status", path, "--json")).document) == document
    document["left"] = {
        "deliverable": 0,
        "waiting": 2,
        "rejected": 0,
        "reasons": {"prev missing": 2},
        "missing_prevs": 1,
        "stuck_streams": [
            {
                "stream": cid_text(stream[0].cid),
                "events": 2,
                "reason": "prev missing",
                "cause": cid_text(stream[1].cid),
                "waits": cid_text(stream[2].cid),
            }
        ],
    }
    reasoned = run_program(ceramic_order("status", path, "--json", "--reasons")).document
    assert without_plan(reasoned) == document


def test_people_see_whole_cids(tmp_path: Path) -> None:
    stream = chain(4)
    path = store(tmp_path / "node.db", [stream[0], *stream[2:]])
    assert (
        f"  {cid_text(stream[0].cid)}: 2 events, prev missing"
        in run_program(ceramic_order("status", path, "--reasons")).out.splitlines()
    )
