"""The order step as a Bytewax flow of its own, on links that any source could have brought."""

import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from operators.order import KNOWN, LookUp, OrderSettings, order, split_by_stream
from operators.schemas import DATA, INIT, LEFT, LINKS, Measured, Reason, unmeasured
from operators.spill import SpillSettings
from tests.support.job import run_flow

many = hypothesis_settings(max_examples=100, deadline=None, print_blob=True)


class Row(NamedTuple):
    """One event; CIDs are short numbers. A prev of None makes an init event."""

    cid: int
    stream: int
    prev: int | None


@dataclass(frozen=True)
class Known:
    """What a database holds: each event's stream (None: unreadable), and if it is delivered.

    It is a `LookUp`.
    """

    events: dict[int, tuple[int | None, bool]]
    sunk: Sequence[pa.RecordBatch] = ()
    """What a sink has received; with it the look-up knows what this flow has delivered."""
    asked: list[list[bytes]] = field(default_factory=list)

    def __call__(self, cids: pa.Array, /, *, by_blocks: bool = False) -> pa.RecordBatch:
        """Answer from `events`, or from what has been sunk since; notes and blocks agree."""
        if not by_blocks:
            self.asked.append(cids.to_pylist())
        sunk = {row["cid"]: row["stream"] for batch in self.sunk for row in batch.to_pylist()}
        rows = [
            {"cid": cid, "stream": sunk[cid], "delivered": True}
            for cid in cids.to_pylist()
            if cid in sunk
        ]
        for number, (stream, delivered) in self.events.items():
            if binary(number) in cids.to_pylist() and binary(number) not in sunk:
                rows.append(
                    {"cid": binary(number), "stream": binary(stream), "delivered": delivered}
                )
        return pa.RecordBatch.from_pylist(rows, schema=KNOWN)


def binary(number: int | None) -> bytes | None:
    return None if number is None else b"cid" + number.to_bytes(2, "big")


def links(rows: Iterable[tuple[int, Row]]) -> pa.RecordBatch:
    columns = [
        {
            "rowid": rowid,
            "cid": binary(cid),
            "stream": binary(stream),
            "prev": binary(prev),
            "kind": INIT if prev is None else DATA,
        }
        for rowid, (cid, stream, prev) in rows
    ]
    return pa.RecordBatch.from_pylist(columns, schema=LINKS)


def cut(rows: Sequence[Row], cuts: Iterable[int]) -> list[pa.RecordBatch]:
    """All rows, numbered from 1, in batches that end at `cuts`."""
    numbered = list(enumerate(rows, start=1))
    bounds = [0, *sorted({at % (len(rows) + 1) for at in cuts}), len(rows)]
    return [links(numbered[start:end]) for start, end in pairwise(bounds)]


def flow_of(
    batches: Iterable[pa.RecordBatch | TestingSource.ABORT],
    look_up: LookUp | None,
    shards: int,
    ordered: list[pa.RecordBatch],
    *,
    settings: OrderSettings = OrderSettings(),  # noqa: B008 # frozen
    spill: SpillSettings | None = None,
) -> tuple[Dataflow, list[pa.RecordBatch]]:
    left: list[pa.RecordBatch] = []
    flow = Dataflow("order")
    out = order(
        "order",
        op.input("in", flow, TestingSource(batches)),
        shards=shards,
        look_up=look_up,
        spill=spill,
        settings=settings,
    )
    op.output("ordered", out.ordered, TestingSink(ordered))
    op.output("left", out.left, TestingSink(left))
    return flow, left


def rows_of(batches: Iterable[pa.RecordBatch], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for batch in batches for row in batch.to_pylist()]


def expected_reasons(
    rows: Sequence[Row], known: Known
) -> dict[int, tuple[Reason, int | None] | None]:
    """Of each event, by climbing: None if it can be delivered, else why not, and the cause."""
    events = {row.cid: row for row in rows}

    def climb(row: Row, below: tuple[int, ...]) -> tuple[Reason, int | None] | None:
        if row.prev is None:
            return None
        if row.prev in below or row.prev == row.cid:
            return Reason.CYCLE, None
        stream, delivered = known.events.get(row.prev, (None, None))
        if delivered is None:
            return Reason.PREV_MISSING, row.prev
        if stream is None:
            return Reason.PREV_REJECTED, row.prev
        if stream != row.stream:
            return (Reason.PREV_REJECTED, row.cid) if below else (Reason.OTHER_STREAM, None)
        if row.prev in events:
            return climb(events[row.prev], (*below, row.cid))
        return None if delivered else (Reason.PREV_REJECTED, row.prev)

    return {row.cid: climb(row, ()) for row in rows}


STREAMS = 3


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], Known]:
    """Up to 40 events in any row order, and up to 10 that do not come through the flow.

    A prev may be missing, in another stream, or part of a cycle.
    """
    count = draw(st.integers(1, 40))
    stream = st.integers(0, STREAMS - 1)
    known = draw(
        st.dictionaries(st.integers(900, 909), st.tuples(st.none() | stream, st.booleans()))
    )
    known = {
        cid: (of, delivered)
        for cid, (of, delivered) in known.items()
        if of is not None or not delivered
    }
    rows: list[Row] = []
    for cid in range(count):
        mine = draw(stream)
        above = [row.cid for row in rows if row.stream == mine]
        usual = st.sampled_from(above) if above else st.none()
        odd = st.one_of(st.none(), st.integers(0, count + 2), st.integers(900, 910))
        rows.append(Row(cid, mine, draw(usual if draw(st.integers(0, 3)) else odd)))
    in_flow: dict[int, tuple[int | None, bool]] = {row.cid: (row.stream, False) for row in rows}
    return draw(st.permutations(rows)), Known(known | in_flow)


class Cuts(NamedTuple):
    """How the same rows may come, and be dealt with."""

    ends: list[int]
    settle_rows: int
    shards: int
    workers: int
    shard_bytes: int | None
    """Above it a shard goes to a file; None: it never does."""
    partitions: int
    flush_rows: int

    def settings(self) -> OrderSettings:
        """How often a shard works."""
        return OrderSettings(settle_rows=self.settle_rows)

    def spill(self, folder: Path) -> SpillSettings | None:
        """When a shard goes to a file in this new folder."""
        if self.shard_bytes is None:
            return None

        def made() -> Path:
            folder.mkdir(exist_ok=True)
            return folder

        return SpillSettings(made, self.shard_bytes, self.partitions, self.flush_rows)


cuts = st.builds(
    Cuts,
    ends=st.lists(st.integers(0, 40), max_size=10),
    settle_rows=st.integers(1, 40),
    shards=st.integers(1, 4),
    workers=st.sampled_from([1, 2]),
    shard_bytes=st.none() | st.integers(0, 2_000),
    partitions=st.integers(1, 4),
    flush_rows=st.integers(1, 10),
)

_folders = count()


def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / f"spill-{next(_folders)}"


@many
@given(table=tables(), cuts=cuts)
def test_everything_comes_out_once_ordered_or_with_its_reason(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[list[Row], Known], cuts: Cuts
) -> None:
    rows, known = table
    ordered: list[pa.RecordBatch] = []
    spill = cuts.spill(new_folder(tmp_path_factory))
    flow, left = flow_of(
        cut(rows, cuts.ends), known, cuts.shards, ordered, settings=cuts.settings(), spill=spill
    )
    run_flow(flow, cuts.workers)
    why = expected_reasons(rows, known)
    came = rows_of(ordered, "rowid", "cid", "stream", "prev")
    assert sorted(came) == [
        (rowid, binary(row.cid), binary(row.stream), binary(row.prev))
        for rowid, row in enumerate(rows, 1)
        if why[row.cid] is None
    ]
    place = {cid: at for at, (_, cid, _, _) in enumerate(came)}
    assert all(place.get(prev, -1) < place[cid] for _, cid, _, prev in came)
    levels = {row["cid"]: row["level"] for batch in ordered for row in batch.to_pylist()}
    assert all(levels.get(prev, -1) < levels[cid] for _, cid, _, prev in came)
    assert sorted(rows_of(left, "rowid", "cid", "stream", "prev", "reason", "cause")) == [
        (
            rowid,
            binary(row.cid),
            binary(row.stream),
            binary(row.prev),
            str(reason[0]),
            binary(reason[1]),
        )
        for rowid, row in enumerate(rows, 1)
        if (reason := why[row.cid]) is not None
    ]
    assert all(batch.schema == LEFT for batch in left)


@many
@given(table=tables(), cuts=cuts)
def test_no_event_asks_for_its_prev_twice(table: tuple[list[Row], Known], cuts: Cuts) -> None:
    rows, known = table
    flow, _ = flow_of(cut(rows, cuts.ends), known, cuts.shards, [], settings=cuts.settings())
    run_flow(flow, cuts.workers)
    asked = Counter(prev for call in known.asked for prev in call)
    children = Counter(binary(row.prev) for row in rows if row.prev is not None)
    assert all(asked[prev] <= children[prev] for prev in asked)
    assert all(len(set(call)) == len(call) for call in known.asked)


def test_siblings_ask_for_their_prev_once() -> None:
    known = Known({900: (0, True)})
    ordered: list[pa.RecordBatch] = []
    flow, _ = flow_of(
        [links(enumerate([Row(cid, 0, 900) for cid in range(50)]))], known, 1, ordered
    )
    run_flow(flow, 1)
    assert known.asked == [[binary(900)]]
    assert sum(batch.num_rows for batch in ordered) == 50


@dataclass
class KnownLater:
    """A look-up that can't say anything before it was asked so often."""

    calls: int
    asked: int = 0

    def __call__(self, cids: pa.Array, /, *, by_blocks: bool = False) -> pa.RecordBatch:
        """All that it is asked for is delivered, and a stream of its own."""
        assert not by_blocks
        self.asked += 1
        is_known = self.asked > self.calls
        stream, delivered = (cids, True) if is_known else (pa.nulls(len(cids), pa.binary()), None)
        answers = pa.array([delivered] * len(cids), pa.bool_())
        return pa.record_batch([cids, stream, answers], schema=KNOWN)


def test_what_a_look_up_does_not_know_yet_is_asked_again_and_let_out_before_the_end() -> None:
    ordered: list[pa.RecordBatch] = []
    rows = [Row(cid, 900, 900) for cid in range(40)]
    flow, left = flow_of(
        cut(rows, range(0, 40, 4)), KnownLater(1), 1, ordered, settings=OrderSettings(settle_rows=4)
    )
    run_flow(flow, 1)
    # the first four wait until twice as many have come; the others go as they come
    assert [batch.num_rows for batch in ordered] == [12, 4, 4, 4, 4, 4, 4, 4]
    assert left == []


def test_a_look_up_that_knows_nothing_at_the_end_of_input_stops_the_flow() -> None:
    flow, _ = flow_of([links(enumerate([Row(1, 900, 900)]))], KnownLater(9), 1, [])
    with pytest.raises(BytewaxRuntimeError) as raised:
        run_flow(flow, 1)
    assert "must know all" in str(raised.value.__cause__)


def test_without_a_look_up_only_init_events_begin_a_stream() -> None:
    ordered: list[pa.RecordBatch] = []
    flow, left = flow_of(
        [links(enumerate([Row(2, 1, 1), Row(1, 1, None), Row(4, 3, 3)]))], None, 2, ordered
    )
    run_flow(flow, 1)
    assert rows_of(ordered, "cid") == [(binary(1),), (binary(2),)]
    assert rows_of(left, "cid", "reason", "cause") == [(binary(4), "prev missing", binary(3))]


@many
@given(st.permutations(range(60)), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_no_generation_of_remembered_events_is_dropped_before_the_sink_has_it(
    rows: list[int], batch_rows: int, settle_rows: int, recent_rows: int
) -> None:
    """One chain and a comb; the look-up knows what the sink has received, as a database does."""
    plan = [
        Row(cid, 0, None if cid == 0 else cid - 1 if cid < 40 else cid - 40) for cid in range(60)
    ]
    sunk: list[pa.RecordBatch] = []
    batches = cut([plan[row] for row in rows], range(0, 60, batch_rows))
    some = OrderSettings(settle_rows=settle_rows, recent_rows=recent_rows)
    flow, left = flow_of(batches, Known({}, sunk), 1, sunk, settings=some)
    run_flow(flow, 1)
    assert left == []
    assert sum(batch.num_rows for batch in sunk) == 60


def test_a_shard_settles_when_twice_as_many_events_have_come_as_are_waiting() -> None:
    settled: list[int] = []

    def counted(stage: str, rows: int) -> AbstractContextManager[Measured]:
        if stage == "order":
            settled.append(rows)
        return unmeasured(stage, rows)

    def settles_of(rows: Sequence[Row]) -> list[int]:
        settled.clear()
        flow = Dataflow("order")
        out = order(
            "order",
            op.input("in", flow, TestingSource(cut(rows, range(len(rows))))),
            shards=1,
            measure=counted,
            settings=OrderSettings(settle_rows=4),
        )
        op.output("ordered", out.ordered, TestingSink([]))
        op.output("left", out.left, TestingSink([]))
        run_flow(flow, 1)
        return settled

    parents_first = [Row(cid, 0, cid - 1 if cid else None) for cid in range(100)]
    assert settles_of(parents_first) == [4] * 25 + [0]
    assert settles_of(parents_first[::-1]) == [4, 8, 24, 64]


def _run_recoverable(flow: Dataflow, folder: Path) -> None:
    """Run a flow with a snapshot after each item."""
    recovery = RecoveryConfig(str(folder))  # type: ignore[no-untyped-call] # compiled
    run_main(  # type: ignore[no-untyped-call] # compiled
        flow, epoch_interval=timedelta(0), recovery_config=recovery
    )


def test_a_flow_that_goes_on_from_recovery_has_forgotten_no_waiting_event(
    tmp_path: Path,
) -> None:
    rows = [Row(cid, 0, cid - 1) for cid in range(1, 10)]
    ordered: list[pa.RecordBatch] = []
    last = links([(10, Row(0, 0, None))])
    batches = [*cut(rows, range(10)), TestingSource.ABORT(), last]
    flow, left = flow_of(batches, None, 4, ordered, settings=OrderSettings(settle_rows=1))
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call] # compiled
    for _ in range(2):
        _run_recoverable(flow, tmp_path)
    assert rows_of(ordered, "cid") == [(binary(cid),) for cid in range(10)]
    assert left == []


def test_a_resumed_shard_asks_again_for_a_parent_that_came_since(tmp_path: Path) -> None:
    known = Known({})
    ordered: list[pa.RecordBatch] = []
    batches = [links([(2, Row(2, 0, 1))]), TestingSource.ABORT(), links([(9, Row(9, 9, None))])]
    flow, left = flow_of(batches, known, 1, ordered, settings=OrderSettings(settle_rows=1))
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call] # compiled
    _run_recoverable(flow, tmp_path)
    assert known.asked
    known.events[1] = (0, True)
    _run_recoverable(flow, tmp_path)
    assert sorted(rows_of(ordered, "cid")) == [(binary(2),), (binary(9),)]
    assert left == []


@pytest.mark.parametrize("has_look_up", [False, True])
def test_a_resumed_shard_knows_what_it_let_out_before(tmp_path: Path, *, has_look_up: bool) -> None:
    ordered: list[pa.RecordBatch] = []
    look_up = Known({}, sunk=ordered) if has_look_up else None
    first = links(enumerate(Row(cid, 0, cid - 1 if cid else None) for cid in range(5)))
    later = links([(9, Row(5, 0, 4)), (10, Row(6, 0, 2))])
    batches = [first, TestingSource.ABORT(), later]
    flow, left = flow_of(batches, look_up, 2, ordered, settings=OrderSettings(settle_rows=1))
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call] # compiled
    for _ in range(2):
        _run_recoverable(flow, tmp_path)
    assert rows_of(ordered, "cid") == [(binary(cid),) for cid in range(7)]
    assert left == []
    rows = rows_of(ordered, "cid", "level")
    level = {cid: int(str(at)) for cid, at in rows}
    assert level[binary(5)] > level[binary(4)]
    assert level[binary(6)] > level[binary(2)]


def test_a_shard_that_went_to_files_refuses_to_be_resumed(tmp_path: Path) -> None:
    rows = [Row(cid, 0, cid - 1) for cid in range(1, 10)]
    spill = SpillSettings(lambda: tmp_path, shard_bytes=1, partitions=1)
    batches = [*cut(rows, range(10)), TestingSource.ABORT(), links([(10, Row(0, 0, None))])]
    flow, _ = flow_of(batches, None, 1, [], settings=OrderSettings(settle_rows=1), spill=spill)
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call] # compiled
    _run_recoverable(flow, tmp_path)
    with pytest.raises(ValueError, match="run again from the start without it"):
        _run_recoverable(flow, tmp_path)


NAMES = {
    "numbers": [str(number).encode() for number in range(4000)],
    "two bytes": [number.to_bytes(2, "big") for number in range(4000)],
    "big numbers": [number.to_bytes(8, "big") for number in range(4000)],
    "the same end": [f"{number}@mail.example.com".encode() for number in range(4000)],
    "the same start": [f"urn:example:stream:{number}".encode() for number in range(4000)],
    "differ in the middle": [f"mail/{number:09}/of/example".encode() for number in range(4000)],
    "zeros behind": [number.to_bytes(4, "big") + bytes(28) for number in range(4000)],
    "long": [b"%09d" % number + b"x" * 200 for number in range(4000)],
    "of all lengths": [b"a" * number for number in range(2000)],
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("shards", [8, 7])
def test_streams_with_names_of_any_kind_are_spread_over_the_shards(kind: str, shards: int) -> None:
    names = NAMES[kind]
    columns = [range(len(names)), names, names, [None] * len(names), [INIT] * len(names)]
    batch = pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, LINKS, strict=True)], LINKS
    )
    sizes = [part.num_rows for _, part in split_by_stream(batch, shards)]
    assert len(sizes) == shards
    assert max(sizes) < 1.5 * len(names) / shards


@many
@given(
    st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 9)), max_size=60),
    st.integers(1, 20),
    st.integers(0, 3),
)
def test_a_shard_holds_whole_streams(
    pairs: list[tuple[int, int]], shards: int, skipped: int
) -> None:
    batch = links(enumerate(Row(cid, stream, cid) for cid, stream in pairs))[skipped:]
    shard_of: dict[bytes, str] = {}
    rows = defaultdict(list)
    for shard, part in split_by_stream(batch, shards):
        assert 0 <= int(shard) < shards
        assert shard not in rows
        rows[shard] = part["rowid"].to_pylist()
        for stream in part["stream"].to_pylist():
            assert shard_of.setdefault(stream, shard) == shard
    assert sorted(rowid for part in rows.values() for rowid in part) == batch["rowid"].to_pylist()
    assert all(part == sorted(part) for part in rows.values())


def test_a_shard_is_pickled_without_the_batch_it_was_cut_from() -> None:
    batch = links(enumerate(Row(cid, cid, None) for cid in range(10_000)))
    parts = [part for _, part in split_by_stream(batch, 100)]
    assert sum(len(pickle.dumps(part)) for part in parts) < 3 * len(pickle.dumps(batch))
