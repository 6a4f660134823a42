"""Look-ups of parents: which exist, in which stream, and whether they are delivered."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from connectors.errors import InterruptedRunError
from connectors.lookup import BLOCK, EVENT_WITH_BLOCKS, PreparedLookUp, known_event
from connectors.sqlite import connect, execute, query
from flows.init_scan import ScanSettings
from flows.lookups import LookUps, LookUpSettings
from flows.synth.events import Event, data_event, init_event, time_event
from flows.synth.schema import SchemaVersion
from operators.order import KNOWN
from tests.support.job import chain, store
from tests.support.strategies import with_odd_envelope

INIT = init_event(1)
EVENTS = (
    INIT,
    init_event(2, signed=False),
    data_event(INIT.stream, INIT.cid, 1),
    time_event(INIT.stream, INIT.cid),
    data_event(INIT.stream, INIT.cid, 2, header={"a": 1}),
    with_odd_envelope(data_event(INIT.stream, INIT.cid, 3)),
)


def known(path: Path, *events: Event) -> dict[bytes, tuple[bytes | None, bool]]:
    with closing(LookUps(path)) as look_ups:
        found = look_ups.parents(pa.array([event.cid for event in events], pa.binary()))
    assert found.schema == KNOWN
    return {row["cid"]: (row["stream"], row["delivered"]) for row in found.to_pylist()}


@pytest.mark.parametrize("version", ["v0.30", "v0.36", "v0.38"])
def test_every_event_is_found_with_its_stream(tmp_path: Path, version: SchemaVersion) -> None:
    path = store(tmp_path / "node.db", EVENTS, [1, None, None, 2, 3, None], schema_version=version)
    assert known(path, *EVENTS, init_event(3)) == {
        event.cid: (event.stream.cid, delivered)
        for event, delivered in zip(EVENTS, [True, False, False, True, True, False], strict=True)
    }


def test_where_the_node_noted_no_init_cid_the_stream_is_read_from_the_blocks(
    tmp_path: Path,
) -> None:
    path = store(tmp_path / "node.db", EVENTS, without_init_cid=[event.cid for event in EVENTS])
    assert {cid: stream for cid, (stream, _) in known(path, *EVENTS).items()} == {
        event.cid: event.stream.cid for event in EVENTS
    }


def test_an_event_that_cannot_be_read_has_no_stream(tmp_path: Path) -> None:
    broken = EVENTS[2]._replace(blocks=(EVENTS[2].blocks[-1],))
    path = store(tmp_path / "node.db", [INIT, broken], without_init_cid=[broken.cid])
    assert known(path, broken) == {broken.cid: (None, False)}


def test_by_blocks_a_wrong_note_does_not_count(tmp_path: Path) -> None:
    broken = EVENTS[2]._replace(blocks=(EVENTS[2].blocks[-1],))
    path = store(tmp_path / "node.db", [INIT, EVENTS[1], broken, EVENTS[4]])
    with closing(connect(path, "rw")) as connection:
        execute(connection, f"UPDATE ceramic_one_event SET init_cid = x'{EVENTS[1].cid.hex()}'")
    with closing(LookUps(path)) as look_ups:
        cids = pa.array([INIT.cid, broken.cid, EVENTS[4].cid], pa.binary())
        found = {row["cid"]: row["stream"] for row in look_ups.parents(cids).to_pylist()}
        read = look_ups.parents(cids, by_blocks=True).to_pylist()
    assert set(found.values()) == {EVENTS[1].cid}
    assert {row["cid"]: row["stream"] for row in read} == {
        INIT.cid: INIT.cid,
        broken.cid: EVENTS[1].cid,
        EVENTS[4].cid: INIT.cid,
    }


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert known(store(tmp_path / "node.db", []), *EVENTS) == {}


def test_several_threads_can_ask_at_once(tmp_path: Path) -> None:
    events = chain(200)
    path = store(tmp_path / "node.db", events)
    with closing(LookUps(path)) as look_ups, ThreadPoolExecutor(4) as threads:
        parts = [pa.array([event.cid for event in events[at::8]], pa.binary()) for at in range(8)]
        answers = list(threads.map(look_ups.parents, parts))
    assert [set(answer["cid"].to_pylist()) for answer in answers] == [
        set(part.to_pylist()) for part in parts
    ]


def test_look_ups_go_by_key(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(50))
    with closing(connect(path)) as connection:
        for statement in (
            known_event(has_init_cid=True),
            known_event(has_init_cid=False),
            EVENT_WITH_BLOCKS,
            BLOCK,
        ):
            plan = query(connection, f"EXPLAIN QUERY PLAN {statement}", [b""])["detail"].to_pylist()
            assert all(
                re.match(r"SEARCH \w+ USING (COVERING )?INDEX \w+ \((cid|multihash)=\?\)", step)
                for step in plan
            ), plan


def test_a_database_that_cannot_be_read_is_reported_when_it_is_asked(tmp_path: Path) -> None:
    with (
        closing(LookUps(tmp_path / "missing.db")) as look_ups,
        pytest.raises(InterruptedRunError, match=r"missing\.db.* failed"),
    ):
        look_ups.parents(pa.array([INIT.cid], pa.binary()))


@pytest.mark.parametrize("budget_bytes", [0, 1 << 20])
@pytest.mark.parametrize("least_share", [0.0, 0.5, 2.0])
def test_delivered_inits_are_known_with_and_without_a_scan(
    tmp_path: Path, least_share: float, budget_bytes: int
) -> None:
    inits = [init_event(seed) for seed in range(40)]
    events = [*inits, data_event(INIT.stream, INIT.cid, 1)]
    path = store(tmp_path / "node.db", events, [*range(1, 20), *[None] * 22])
    settings = LookUpSettings(
        budget_bytes, lambda: tmp_path, scan=ScanSettings(least_share, rows=7)
    )
    with closing(LookUps(path, settings=settings)) as look_ups:
        is_scanned = look_ups.init_scan.done.result()
        found = look_ups.parents(pa.array([event.cid for event in events], pa.binary()))
    assert is_scanned == (least_share < 1)
    assert {row["cid"]: (row["stream"], row["delivered"]) for row in found.to_pylist()} == {
        event.cid: (event.stream.cid, at < 19) for at, event in enumerate(events)
    }


def test_a_scan_that_is_under_way_ends_when_the_look_ups_are_closed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3000))
    look_ups = LookUps(path, settings=LookUpSettings(scan=ScanSettings(0.0, rows=1)))
    look_ups.close()
    assert not look_ups.init_scan.done.result()


def test_a_look_up_that_was_never_used_can_be_closed(tmp_path: Path) -> None:
    PreparedLookUp(tmp_path / "missing.db", BLOCK).close()
    LookUps(tmp_path / "missing.db").close()
    assert not list(tmp_path.iterdir())


def test_a_scan_counts_what_the_index_on_delivered_hides(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(40))
    with closing(connect(path, "rw")) as connection:
        # an index over other values than the column's, as after damage
        for statement in (
            "CREATE TABLE other AS SELECT * FROM ceramic_one_event",
            "UPDATE other SET delivered = rowid WHERE rowid IN (3, 20, 21)",
            "CREATE UNIQUE INDEX hiding ON other (delivered)",
            "PRAGMA writable_schema = ON",
            """
            UPDATE sqlite_master
            SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'hiding')
            WHERE name = 'sqlite_autoindex_ceramic_one_event_2'
            """,
        ):
            execute(connection, statement)
    hidden: list[int] = []
    settings = LookUpSettings(scan=ScanSettings(0.0, rows=7))
    with closing(LookUps(path, settings=settings, counted_hidden=hidden.append)) as look_ups:
        assert look_ups.init_scan.done.result()
    assert hidden == [3]
