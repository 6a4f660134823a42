"""The source: what its partitions read, where they go on, and how they fail."""

import re
import threading
from collections import defaultdict
from contextlib import closing
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from random import Random
from time import sleep

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, poll_next_batch, run_main
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectors.blocks import BlockReader
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.event_blocks import EventBlockReader, joined_range
from connectors.page_sizes import PageSizes
from connectors.pages import cut
from connectors.run_state import RunState
from connectors.source import UndeliveredSource
from connectors.sqlite import connect, execute, query
from flows.synth.database import create_database
from flows.synth.events import block, build_event, data_event, init_event, sign
from operators.encoding.envelope import payload_multihash
from operators.encoding.event_blocks import NO_CODEC, EventBlock, pack, unpack
from operators.schemas import BLOCKS, RAW, Page
from tests.support.insert import insert_events
from tests.support.job import chain, deliver, store
from tests.support.oracle import read
from tests.support.strategies import Forest, forests

_names = count()
Row = tuple[int, bytes, bytes, bytes, bytes, bytes]


def source_of(
    path: Path,
    partitions: int,
    run_state: RunState | None = None,
    sizes: PageSizes = PageSizes(),  # noqa: B008 # frozen
) -> UndeliveredSource:
    return UndeliveredSource(path, run_state or RunState(), partitions, sizes=sizes)


def pages_of(source: UndeliveredSource, part: str) -> list[Page]:
    """All pages of one partition."""
    partition = source.build_part("source", part, None)
    pages = []
    try:
        while True:
            if found := partition.next_batch():
                pages += found
            else:
                # a loop without a pause would keep the interpreter from the thread that reads
                sleep(0.0002)
    except StopIteration:
        return pages
    finally:
        partition.close()


def rows_of(pages: list[Page]) -> list[Row]:
    return [
        tuple(row[name] for name in RAW.names) for page in pages for row in page.events.to_pylist()
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
            "SELECT rowid, cid, order_key FROM ceramic_one_event WHERE delivered IS NULL "
            "ORDER BY rowid",
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


page_sizes = st.builds(
    PageSizes,
    run_rows=st.integers(1, 12),
    looked_up_rows=st.integers(1, 20),
    page_bytes=st.sampled_from([1, 1000, 2**20]),
    window_bytes=st.sampled_from([1, 2000, 2**20]),
    window_slack=st.integers(0, 3),
    window_rows_an_event=st.integers(0, 8),
    part_rows=st.integers(1, 20),
    large_bytes=st.sampled_from([0, 300, 2**20]),
    event_block_rows_an_event=st.sampled_from([0, 3, 24]),
)


@settings(max_examples=12, deadline=None, print_blob=True)
@given(
    forest=forests(),
    ways=st.lists(st.tuples(st.integers(1, 3), page_sizes), min_size=4, max_size=4),
)
def test_the_partitions_read_every_undelivered_event_once_with_its_blocks(
    tmp_path_factory: pytest.TempPathFactory, forest: Forest, ways: list[tuple[int, PageSizes]]
) -> None:
    path = forest.store(tmp_path_factory.getbasetemp() / f"source-{next(_names)}.db")
    expected = expected_rows(path)
    for partitions, sizes in ways:
        run_state = RunState()
        source = source_of(path, partitions, run_state, sizes)
        parts = [pages_of(source, part) for part in source.list_parts()]
        every = [row for pages in parts for row in rows_of(pages)]
        assert with_sorted_lists(sorted(every)) == expected
        assert all(rows_of(pages) == sorted(rows_of(pages)) for pages in parts)
        assert all(
            (page.events.schema, page.other_blocks.schema) == (RAW, BLOCKS)
            for pages in parts
            for page in pages
        )
        assert (run_state.discovered, run_state.partitions_read) == (len(every), partitions)


def test_runs_with_few_undelivered_events_are_read_as_one_page(tmp_path: Path) -> None:
    delivered = [None if at in {3, 20, 21, 50, *range(64, 72), 90} else at + 1 for at in range(100)]
    path = store(tmp_path / "node.db", chain(100), delivered)
    sizes = PageSizes(run_rows=8, looked_up_rows=4)
    pages = pages_of(source_of(path, 1, sizes=sizes), "0/1")
    assert [[rowid - 1 for rowid, *_ in rows_of([page])] for page in pages] == [
        [3, 20, 21, 50],
        [*range(64, 71)],
        [71, 90],
    ]


def test_what_is_left_of_an_earlier_run_is_not_resumed_from_a_recovery_store(
    tmp_path: Path,
) -> None:
    path = store(tmp_path / "node.db", chain(3))
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call] # Bytewax's stub
    kept = RecoveryConfig(tmp_path)  # type: ignore[no-untyped-call] # likewise

    run_state = RunState()

    def run_flow() -> list[Page]:
        pages: list[Page] = []
        flow = Dataflow("resumed")
        op.output("out", op.input("in", flow, source_of(path, 1, run_state)), TestingSink(pages))
        epoch = timedelta(0)
        run_main(flow, epoch_interval=epoch, recovery_config=kept)  # type: ignore[no-untyped-call]
        return pages

    assert len(rows_of(run_flow())) == 2
    with pytest.raises(BytewaxRuntimeError):
        run_flow()
    assert isinstance(run_state.failure, CannotStartError)
    assert "Can't resume reading" in str(run_state.failure)


@pytest.mark.parametrize(
    "rowid", [-(2**63), -(2**62), -8192, -1, 0, 5 * 8192 - 1, 5 * 8192, 2**62, 2**63 - 1]
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


def test_large_blocks_make_small_pages(tmp_path: Path) -> None:
    init = init_event(1)
    events = [data_event(init.stream, init.cid, f"{index}" + "x" * 100_000) for index in range(20)]
    path = store(tmp_path / "node.db", [init, *events])
    pages = pages_of(source_of(path, 1, sizes=PageSizes(page_bytes=350_000)), "0/1")
    assert [page.events.num_rows for page in pages] == [3, 3, 3, 3, 3, 3, 2]
    assert with_sorted_lists(rows_of(pages)) == expected_rows(path)


@given(st.lists(st.integers(0, 10), max_size=30).map(np.array), st.integers(1, 30))
def test_a_page_is_cut_only_where_it_must_be(size: NDArray[np.int64], most: int) -> None:
    slices = list(cut(size.astype(np.int64), most))
    assert [at for some in slices for at in range(some.start, some.stop)] == [*range(len(size))]
    for some, after in pairwise([*slices, None]):
        assert some is not None
        assert size[some].sum() <= most or some.stop == some.start + 1
        assert after is None or size[some].sum() + size[after.start] > most


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
        InterruptedRunError, match=re.escape(f"Reading `{path}` failed at its start")
    ):
        pages_of(source_of(path, 1, run_state), "0/1")
    assert isinstance(run_state.failure, InterruptedRunError)
    with pytest.raises(InterruptedRunError, match="malformed"):
        raise run_state.failure


def test_a_database_that_vanished_ends_the_partition_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="failed at its start"):
        pages_of(source_of(tmp_path / "missing.db", 1), "0/1")
    assert list(tmp_path.iterdir()) == []


def test_a_partition_that_nobody_reads_any_more_can_be_closed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(50))
    run_state = RunState()
    sizes = PageSizes(run_rows=1, looked_up_rows=1)
    partition = source_of(path, 1, run_state, sizes).build_part("source", "0/1", None)
    poll_next_batch(partition)  # type: ignore[no-untyped-call] # Bytewax's stub
    partition.close()
    assert run_state.failure is None
    assert "read 0/1" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("rows_an_event", [0, 24])
def test_event_blocks_are_found_by_range_and_by_index_in_the_order_of_the_events(
    tmp_path: Path, rows_an_event: int
) -> None:
    events = chain(40)
    path = store(tmp_path / "node.db", events)
    wanted = [events[7], events[3]._replace(cid=b"unknown"), *events[9:30]]
    sizes = PageSizes(event_block_rows_an_event=rows_an_event)
    with (
        closing(connect(path)) as connection,
        closing(EventBlockReader(connection, sizes)) as reader,
    ):
        found = reader.read(pa.array([event.cid for event in wanted], pa.binary())).to_pylist()
        assert reader.read(pa.array([b"unknown"], pa.binary())).to_pylist() == [b""]
    for event, listed in zip(wanted, found, strict=True):
        blocks = () if event.cid == b"unknown" else event.blocks
        expected = [EventBlock(one.multihash, one.codec, one.is_root) for one in blocks]
        assert sorted(unpack(listed)) == sorted(expected)


@pytest.mark.parametrize("large_bytes", [0, 200, 2**20])
def test_blocks_are_found_in_the_order_in_which_they_are_asked_for(
    tmp_path: Path, large_bytes: int
) -> None:
    events = chain(40)
    path = store(tmp_path / "node.db", events)
    wanted = [one for event in events for one in event.blocks]
    Random(2).shuffle(wanted)
    multihashes = pa.array(
        [b"", *(one.multihash for one in wanted), b"\x12\x20" + bytes(32), wanted[0].multihash],
        pa.binary(),
    )
    contents = [b"", *(one.content for one in wanted), b"", wanted[0].content]
    sizes = PageSizes(large_bytes=large_bytes)
    with closing(connect(path)) as connection, closing(BlockReader(connection, sizes)) as reader:
        for window in (
            [wanted[0].multihash],
            [events[0].cid[-34:], events[-1].cid[-34:]],
            [bytes(34)],
        ):
            reader.read_window(pa.array(window, pa.binary()))
            found = reader.find(multihashes)
            assert found.size.tolist() == [len(content) for content in contents]
            assert reader.whole(multihashes, found).to_pylist() == contents


USUAL_CIDS = [
    cid
    for digest in (bytes(range(32)), bytes(31) + b"\x01", bytes(32))
    for cid in (b"\x01\x71\x12\x20" + digest, b"\x01\x85\x01\x12\x20" + digest)
]
ODD_CIDS = [
    USUAL_CIDS[0] + b"\x00",
    USUAL_CIDS[0][:-1],
    b"\x00" + USUAL_CIDS[0],
    b"event",
    bytes(37),
]

usual_multihashes = st.binary(min_size=34, max_size=34)
usual_rows = st.tuples(
    usual_multihashes, st.sampled_from(["113", "133"]), st.sampled_from(["0", "1"])
)
odd_rows = st.tuples(
    st.binary(max_size=80) | usual_multihashes,
    st.sampled_from(["113", "133", "0", "-1", "1.5", "'x'", "x'3131'"]),
    st.sampled_from(["0", "1", "4294967296", "'yes'", "NULL", "0.5"]),
)


def lists_of(
    cids: list[bytes], rows: st.SearchStrategy[tuple[bytes, str, str]]
) -> st.SearchStrategy[dict[bytes, list[tuple[bytes, str, str]]]]:
    """Some events, and the rows of each."""
    lists = st.lists(rows, unique_by=lambda row: row[0], max_size=6)
    return st.dictionaries(st.sampled_from(cids), lists, min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    rows=lists_of(USUAL_CIDS, usual_rows)
    | lists_of(USUAL_CIDS + ODD_CIDS, usual_rows)
    | lists_of(USUAL_CIDS, usual_rows | odd_rows),
    encoding=st.sampled_from(["UTF-8", "UTF-16le", "UTF-16be"]),
    unwanted=st.sampled_from(USUAL_CIDS),
)
def test_event_blocks_of_any_form_are_the_same_by_range_and_by_index(
    tmp_path_factory: pytest.TempPathFactory,
    rows: dict[bytes, list[tuple[bytes, str, str]]],
    encoding: str,
    unwanted: bytes,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"event-blocks-{next(_names)}.db"
    with closing(connect(path, "rwc")) as connection:
        execute(connection, f"PRAGMA encoding='{encoding}'")
        execute(
            connection,
            "CREATE TABLE ceramic_one_event_block (event_cid, block_multihash, codec INTEGER, idx, "
            "root BOOL, PRIMARY KEY (event_cid, block_multihash))",
        )
        for cid, blocks in rows.items():
            for multihash, codec, root in blocks:
                execute(
                    connection,
                    "INSERT INTO ceramic_one_event_block VALUES "
                    f"(x'{cid.hex()}', x'{multihash.hex()}', {codec}, 0, {root})",
                )  # hex and constants
    wanted = [cid for cid in rows if cid != unwanted]
    found = []
    for rows_an_event in (0, 24):
        sizes = PageSizes(event_block_rows_an_event=rows_an_event)
        with (
            closing(connect(path)) as connection,
            closing(EventBlockReader(connection, sizes)) as reader,
        ):
            packed = reader.read(pa.array(wanted, pa.binary())).to_pylist() if wanted else []
        found.append([list(unpack(each)) for each in packed])
    assert found[0] == found[1]
    for cid, read_blocks in zip(wanted, found[0], strict=True):
        blocks = rows[cid]
        assert [each.multihash for each in read_blocks] == [each for each, _, _ in blocks]
        for multihash, codec_read, is_root in read_blocks:
            written = next(row for row in blocks if row[0] == multihash)
            is_readable = written[1] in {"113", "133", "0"} and written[2].isdigit()
            expected = (int(written[1]), written[2] == "1") if is_readable else (NO_CODEC, False)
            assert (codec_read, is_root) == expected


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_bytes_are_joined_only_where_that_keeps_them(tmp_path: Path, encoding: str) -> None:
    with closing(connect(tmp_path / "node.db", "rwc")) as connection:
        execute(connection, f"PRAGMA encoding='{encoding}'")
        execute(
            connection,
            "CREATE TABLE ceramic_one_event_block (event_cid, block_multihash, codec, root)",
        )
        assert (joined_range(connection) is not None) == (encoding == "UTF-8")


def test_usual_rows_are_read_as_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = chain(40)
    path = store(tmp_path / "node.db", events)
    cids = pa.array([event.cid for event in events], pa.binary())
    with (
        closing(connect(path)) as connection,
        closing(EventBlockReader(connection, PageSizes())) as reader,
    ):
        expected = reader.read(cids)
        monkeypatch.delattr("connectors.event_blocks.packed_by_event")
        assert reader.read(cids).equals(expected)


def test_events_with_many_event_blocks_make_small_pages(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(201))
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100) "
            "INSERT INTO ceramic_one_event_block (event_cid, block_multihash, codec, idx, root) "
            "SELECT cid, randomblob(34), 113, 0, 0 FROM ceramic_one_event, n",
        )
    pages = pages_of(source_of(path, 1, sizes=PageSizes(page_bytes=400_000)), "0/1")
    assert [page.events.num_rows for page in pages] == [128, 72]
    assert with_sorted_lists(rows_of(pages)) == expected_rows(path)


@pytest.mark.parametrize("rowid", [-(2**63), 2**63 - 1])
def test_blocks_in_the_first_and_the_last_possible_row_are_read(tmp_path: Path, rowid: int) -> None:
    events = chain(4)
    path = store(tmp_path / "node.db", events)
    with closing(connect(path, "rw")) as connection:
        execute(connection, f"UPDATE ceramic_one_block SET rowid = {rowid} WHERE rowid = 4")
        execute(connection, f"UPDATE ceramic_one_event_block SET rowid = {rowid} WHERE rowid = 4")
    assert deliver(path).delivered == 3
    assert None not in read(path).numbers.values()


@pytest.mark.parametrize("value", ["NULL", "5", "1.5", "'text'", "x''"])
@pytest.mark.parametrize("column", ["root", "payload"])
def test_a_block_that_is_no_block_stops_its_own_event(
    tmp_path: Path, value: str, column: str
) -> None:
    init, first, second = (
        init_event(1),
        *[data_event(init_event(1).stream, init_event(1).cid, n) for n in range(2)],
    )
    path = store(tmp_path / "node.db", [init, first, second])
    block = next(one for one in first.blocks if one.is_root == (column == "root"))
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            "CREATE TABLE other AS SELECT multihash, bytes FROM ceramic_one_block",
        )
        execute(connection, "DROP TABLE ceramic_one_block")
        execute(connection, "CREATE TABLE ceramic_one_block (multihash BLOB PRIMARY KEY, bytes)")
        execute(connection, "INSERT INTO ceramic_one_block SELECT multihash, bytes FROM other")
        execute(
            connection,
            f"UPDATE ceramic_one_block SET bytes = {value} "
            f"WHERE multihash = x'{block.multihash.hex()}'",
        )  # a constant and hex
    run_state = deliver(path)
    assert (run_state.delivered, run_state.reasons.total()) == (1, 1)
