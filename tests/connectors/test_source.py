"""The source: what its partitions read, where they go on, and how they fail."""

import re
import threading
from collections import defaultdict
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from bytewax.testing import poll_next_batch
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.blocks import BlockReader, WindowTooLargeError
from connectors.errors import InterruptedRunError
from connectors.event_blocks import EXTENT, LISTED, ListingReader
from connectors.event_blocks import WINDOW as LISTED_WINDOW
from connectors.run_state import RunState
from connectors.source import EVENTS, NEXT, RUN_ROWS, UndeliveredSource
from connectors.sqlite import bound, connect, execute, query
from flows.synth.database import create_database, insert_events
from flows.synth.events import block, build_event, data_event, init_event, sign
from flows.synth.schema import SchemaVersion
from operators.encoding.envelope import payload_multihash
from operators.encoding.event_blocks import EventBlock, pack, unpack
from operators.schemas import BLOCKS, RAW, Page
from tests.support.job import chain, deliver, store
from tests.support.oracle import read
from tests.support.strategies import Forest, forests

_names = count()
Row = tuple[int, bytes, bytes, bytes, bytes, bytes]


def source_of(path: Path, partitions: int, run_state: RunState | None = None) -> UndeliveredSource:
    return UndeliveredSource(path, run_state or RunState(), partitions)


def pages_of(
    source: UndeliveredSource, part: str, resume_state: int | None = None
) -> list[tuple[Page, int]]:
    """All pages of one partition, each with the resume state behind it."""
    partition = source.build_part("source", part, resume_state)
    pages = []
    try:
        while True:
            (page,) = poll_next_batch(partition)  # type: ignore[no-untyped-call] # Bytewax's stub
            pages.append((page, partition.snapshot()))
    except StopIteration:
        return pages
    finally:
        partition.close()


def rows_of(pages: list[tuple[Page, int]]) -> list[Row]:
    return [
        tuple(row[name] for name in RAW.names)
        for page, _ in pages
        for row in page.events.to_pylist()
    ]


def expected_rows(path: Path) -> list[Row]:
    """Every undelivered event with its blocks, each found by a look-up of its own."""
    with closing(connect(path)) as connection:
        blocks = {
            row["multihash"]: row["bytes"]
            for row in query(connection, "SELECT * FROM ceramic_one_block").to_pylist()
        }
        listed: dict[bytes, set[EventBlock]] = defaultdict(set)
        for row in query(
            connection,
            "SELECT event_cid, block_multihash, codec, root FROM ceramic_one_event_block",
        ).to_pylist():
            one = EventBlock(row["block_multihash"], row["codec"], bool(row["root"]))
            listed[row["event_cid"]].add(one)
        rows = query(
            connection,
            "SELECT rowid, cid, order_key FROM ceramic_one_event WHERE delivered IS NULL ORDER BY rowid",
        ).to_pylist()
    found = []
    for row in rows:
        root = blocks.get(row["cid"][-34:], b"")
        found.append(
            (
                row["rowid"],
                row["cid"],
                root,
                blocks.get(payload_multihash(root) or b"", b""),
                row["order_key"],
                pack(sorted(listed[row["cid"]])),
            )
        )
    return found


def with_sorted_lists(rows: list[Row]) -> list[Row]:
    """The same rows; the order of the event blocks means nothing."""
    return [(*row[:5], pack(sorted(unpack(row[5])))) for row in rows]


@settings(max_examples=50, deadline=None, print_blob=True)
@given(
    forest=forests(),
    partitions=st.integers(1, 5),
    run_rows=st.integers(1, 12),
    looked_up_rows=st.integers(1, 20),
    slack=st.integers(0, 3),
    rows_an_event=st.integers(0, 8),
    window_bytes=st.sampled_from([1, 2000, 2**20]),
    part_rows=st.integers(1, 20),
)
def test_the_partitions_read_every_undelivered_event_once_with_its_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    forest: Forest,
    *,
    partitions: int,
    run_rows: int,
    looked_up_rows: int,
    slack: int,
    rows_an_event: int,
    window_bytes: int,
    part_rows: int,
) -> None:
    path = forest.store(tmp_path_factory.getbasetemp() / f"source-{next(_names)}.db")
    run_state = RunState()
    source = source_of(path, partitions, run_state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors.source.RUN_ROWS", run_rows)
        patch.setattr("connectors.source.LOOKED_UP_ROWS", looked_up_rows)
        patch.setattr("connectors.blocks.WINDOW_SLACK", slack)
        patch.setattr("connectors.blocks.WINDOW_ROWS_AN_EVENT", rows_an_event)
        patch.setattr("connectors.blocks.WINDOW_BYTES", window_bytes)
        patch.setattr("connectors.blocks.SAMPLE_ROWS", 1 + part_rows // 2)
        patch.setattr("connectors.blocks.PART_ROWS", part_rows)
        pages = {part: pages_of(source, part) for part in source.list_parts()}
    every = [row for part in pages.values() for row in rows_of(part)]
    assert with_sorted_lists(sorted(every)) == expected_rows(path)
    assert all(rows_of(part) == sorted(rows_of(part)) for part in pages.values())
    assert all(
        page.events.schema == RAW and page.beside.schema == BLOCKS
        for part in pages.values()
        for page, _ in part
    )
    assert (run_state.discovered, run_state.partitions_read) == (len(every), partitions)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_partition_goes_on_behind_the_last_row_it_emitted(
    tmp_path: Path, partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.source.RUN_ROWS", 4)
    monkeypatch.setattr("connectors.source.LOOKED_UP_ROWS", 4)
    source = source_of(store(tmp_path / "node.db", chain(30)), partitions)
    for part in source.list_parts():
        pages = pages_of(source, part)
        for done, (_, state) in enumerate(pages, start=1):
            assert rows_of(pages_of(source, part, state)) == rows_of(pages[done:])


def test_runs_with_few_undelivered_events_are_read_as_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.source.RUN_ROWS", 8)
    monkeypatch.setattr("connectors.source.LOOKED_UP_ROWS", 4)
    delivered = [None if at in {3, 20, 21, 50, *range(64, 72), 90} else at + 1 for at in range(100)]
    pages = pages_of(source_of(store(tmp_path / "node.db", chain(100), delivered), 1), "0/1")
    assert [[rowid - 1 for rowid, *_ in rows_of([page])] for page in pages] == [
        [3, 20, 21, 50],
        [*range(64, 71)],
        [71, 90],
    ]


def test_before_its_first_page_a_partition_goes_on_at_the_start(tmp_path: Path) -> None:
    source = source_of(store(tmp_path / "node.db", chain(3)), 1)
    partition = source.build_part("source", "0/1", None)
    state = partition.snapshot()
    partition.close()
    assert len(rows_of(pages_of(source, "0/1", state))) == 2


@pytest.mark.parametrize(
    "rowid", [-(2**62), -RUN_ROWS, -1, 0, 5 * RUN_ROWS - 1, 5 * RUN_ROWS, 2**62, 2**63 - 1]
)
@pytest.mark.parametrize("partitions", [1, 4])
def test_any_rowid_is_read_and_delivered(tmp_path: Path, rowid: int, partitions: int) -> None:
    path = store(tmp_path / "node.db", chain(3))
    with closing(connect(path, "rw")) as connection:
        execute(
            connection, f"UPDATE ceramic_one_event SET rowid = {rowid} WHERE rowid = 3"
        )  # a number
    assert deliver(path, partitions=partitions).delivered == 2
    assert None not in read(path).numbers.values()


def test_the_payload_of_an_odd_envelope_is_followed(tmp_path: Path) -> None:
    init = init_event(1)
    payload, envelope = sign(
        encode_dag_cbor({"id": CID(init.cid), "prev": CID(init.cid), "data": 1}), "did:key:a"
    )
    fields: dict[str, DagCborTypes] = {"payload": payload.cid, "signatures": [{"signature": b"s"}]}
    roots = [
        encode_dag_cbor({**fields, "link": CID(payload.cid)}),
        encode_dag_cbor({**fields, "aaa": 1}),
        encode_dag_cbor({**fields, "payload": b"\x01\x85\x01" + payload.multihash}),
        b"\xa2\x78\x07payload\x58\x24" + payload.cid + b"\x6asignatures\x81\xa1\x69signature\x41s",
    ]
    events = [
        build_event(
            init.stream, "data", init.cid, (payload, block(root, envelope.codec, is_root=True))
        )
        for root in roots
    ]
    path = store(tmp_path / "node.db", [init, *events])
    assert [row[3] for row in rows_of(pages_of(source_of(path, 1), "0/1"))] == [
        payload.content
    ] * len(roots)
    # the third is listed under another codec
    assert deliver(path).delivered == len(roots) - 1


def test_blocks_are_found_wherever_they_lie(tmp_path: Path) -> None:
    """Blocks stored in another order than their events, far from them, and shared by two events."""
    events = list(chain(60))
    rng = Random(1)
    stored = rng.sample([one for event in events for one in event.blocks], k=120)
    with closing(create_database(tmp_path / "node.db")) as connection:
        insert_events(connection, [events[0]._replace(blocks=tuple(stored))])
        rng.shuffle(events)
        insert_events(connection, [event for event in events if event.prev is not None])
    assert with_sorted_lists(
        rows_of(pages_of(source_of(tmp_path / "node.db", 2), "0/2"))
    ) == expected_rows(tmp_path / "node.db")


def test_large_blocks_make_small_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.blocks.WINDOW_BYTES", 300_000)
    monkeypatch.setattr("connectors.blocks.WINDOW_SLACK", 0)
    init = init_event(1)
    events = [data_event(init.stream, init.cid, f"{index}" + "x" * 100_000) for index in range(20)]
    pages = pages_of(source_of(store(tmp_path / "node.db", [init, *events]), 1), "0/1")
    assert sum(page.events.num_rows for page, _ in pages) == 20
    assert max(page.events.num_rows for page, _ in pages) <= 4


def test_a_window_is_found_too_large_by_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = init_event(1)
    events = [data_event(init.stream, init.cid, f"{index}" + "x" * 10_000) for index in range(600)]
    path = store(tmp_path / "node.db", [init, *events])
    monkeypatch.setattr("connectors.blocks.WINDOW_BYTES", 4_000_000)
    monkeypatch.setattr("connectors.blocks.WINDOW_SLACK", 0)
    parts: list[object] = []

    def noted(*parameters: int | bytes | str) -> pa.RecordBatch:
        parts.append(parameters)
        return bound(*parameters)

    monkeypatch.setattr("connectors.blocks.bound", noted)
    with closing(connect(path)) as connection, closing(BlockReader(connection)) as blocks:
        roots = query(
            connection,
            "SELECT multihash FROM ceramic_one_block WHERE length(bytes) < 1000 ORDER BY rowid",
        )["multihash"]
        with pytest.raises(WindowTooLargeError):
            blocks.read_window(roots.combine_chunks())
    # the rows of the first and the last root, and one part of what is between
    assert len(parts) == 3


def _damage(path: Path, table: str) -> None:
    """Write over all pages of a table but its root page."""
    with closing(connect(path)) as connection:
        root = query(connection, "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))[
            "rootpage"
        ][0].as_py()
        pages = query(connection, "PRAGMA page_count").column(0)[0].as_py()
    content = bytearray(path.read_bytes())
    for page in range(root, pages):
        content[page * 4096 : page * 4096 + 4096] = b"\xaa" * 4096
    path.write_bytes(content)


@pytest.mark.parametrize(
    "table", ["ceramic_one_event", "ceramic_one_block", "ceramic_one_event_block"]
)
def test_a_damaged_file_ends_the_partition_with_an_error(tmp_path: Path, table: str) -> None:
    path = store(tmp_path / "node.db", chain(200))
    _damage(path, table)
    run_state = RunState()
    with pytest.raises(
        InterruptedRunError, match=re.escape(f"Reading `{path}` failed at its beginning")
    ):
        pages_of(source_of(path, 1, run_state), "0/1")
    assert isinstance(run_state.failure, InterruptedRunError)
    with pytest.raises(InterruptedRunError, match="malformed"):
        raise run_state.failure


def test_a_database_that_vanished_ends_the_partition_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="failed at its beginning"):
        pages_of(source_of(tmp_path / "missing.db", 1), "0/1")
    assert list(tmp_path.iterdir()) == []


def test_a_partition_that_nobody_reads_any_more_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.source.RUN_ROWS", 1)
    monkeypatch.setattr("connectors.source.LOOKED_UP_ROWS", 1)
    partition = source_of(store(tmp_path / "node.db", chain(50)), 1).build_part(
        "source", "0/1", None
    )
    poll_next_batch(partition)  # type: ignore[no-untyped-call] # Bytewax's stub
    partition.close()
    assert "read 0/1" not in {thread.name for thread in threading.enumerate()}


def _plan(path: Path, statement: str, parameters: int) -> list[str]:
    with closing(connect(path)) as connection:
        plan = query(connection, f"EXPLAIN QUERY PLAN {statement}", [0] * parameters)
    steps: list[str] = plan["detail"].to_pylist()
    return steps


BY_DELIVERED = r"SEARCH \w+ USING (COVERING )?INDEX \w+ \(delivered=\? AND rowid>\?{}\)"
BY_ROWID = r"SEARCH \w+ USING INTEGER PRIMARY KEY \(rowid>\? AND rowid<\?\)"


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("version", ["v0.30", "v0.36", "v0.38"])
def test_undelivered_rows_are_found_by_the_index_on_delivered(
    tmp_path: Path, version: SchemaVersion, *, analyzed: bool
) -> None:
    path = store(
        tmp_path / "node.db",
        [*chain(60, 1), *chain(60, 2)],
        [*range(1, 61), *[None] * 60],
        schema_version=version,
    )
    if analyzed:
        with closing(connect(path, "rw")) as connection:
            execute(connection, "ANALYZE")
    plan = _plan(path, NEXT, 1)
    assert re.fullmatch(BY_DELIVERED.format(""), "; ".join(plan))
    # a run of rowids is short, so with statistics SQLite may as well walk over it
    by_rowid = f"|{BY_ROWID}" if analyzed else ""
    assert re.fullmatch(
        BY_DELIVERED.format(r" AND rowid<\?") + by_rowid, "; ".join(_plan(path, EVENTS, 2))
    )


@pytest.mark.parametrize("analyzed", [False, True])
def test_lists_of_blocks_are_found_by_rowid_or_by_the_index_on_events(
    tmp_path: Path, *, analyzed: bool
) -> None:
    path = store(tmp_path / "node.db", chain(60))
    if analyzed:
        with closing(connect(path, "rw")) as connection:
            execute(connection, "ANALYZE")
    assert re.fullmatch(BY_ROWID, "; ".join(_plan(path, LISTED_WINDOW, 2)))
    for statement in (EXTENT, LISTED):
        assert re.fullmatch(
            r"SEARCH \w+ USING (COVERING )?INDEX \w+ \(event_cid=\?\)",
            "; ".join(_plan(path, statement, 1)),
        )


@pytest.mark.parametrize("rows_an_event", [0, 24])
def test_a_listing_reader_finds_what_lies_beside_the_events_in_their_order(
    tmp_path: Path, rows_an_event: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.event_blocks.WINDOW_ROWS_AN_EVENT", rows_an_event)
    events = chain(40)
    path = store(tmp_path / "node.db", events)
    wanted = [events[7], events[3]._replace(cid=b"unknown"), *events[9:30]]
    with closing(connect(path)) as connection, closing(ListingReader(connection)) as reader:
        found = reader.read(pa.array([event.cid for event in wanted], pa.binary())).to_pylist()
        assert reader.read(pa.array([b"unknown"], pa.binary())).to_pylist() == [b""]
    for event, listed in zip(wanted, found, strict=True):
        blocks = () if event.cid == b"unknown" else event.blocks
        expected = [EventBlock(one.multihash, one.codec, one.is_root) for one in blocks]
        assert sorted(unpack(listed)) == sorted(expected)


def test_a_block_reader_finds_each_of_many_in_their_order(tmp_path: Path) -> None:
    events = chain(40)
    path = store(tmp_path / "node.db", events)
    wanted = [one for event in events for one in event.blocks]
    Random(2).shuffle(wanted)
    multihashes = [
        b"",
        *(one.multihash for one in wanted),
        b"\x12\x20" + bytes(32),
        wanted[0].multihash,
    ]
    with closing(connect(path)) as connection, closing(BlockReader(connection)) as reader:
        for window in (
            [wanted[0].multihash],
            [events[0].cid[-34:], events[-1].cid[-34:]],
            [bytes(34)],
        ):
            reader.read_window(pa.array(window, pa.binary()))
            found = reader.find(pa.array(multihashes, pa.binary())).to_pylist()
            assert found == [b"", *(one.content for one in wanted), b"", wanted[0].content]
