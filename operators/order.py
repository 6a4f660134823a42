"""Order: the stateful step that holds events until their parents are delivered.

The order of a stream never depends on another stream, but the Bytewax key is a shard, a fixed
number of groups of streams: recovery time and memory grow with the number of keys, and a million
streams would be a million keys.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray

from operators.remembered import Remembered
from operators.schemas import LEFT, LINKS, Measure, Reason, unmeasured
from operators.settle import NONE, Rows, Settled, parent_rows, settle

SHARDS = 8
"""Enough for the workers of one machine, few enough that a page of 8,192 events gives each shard
a thousand."""

SETTLE_ROWS = 2048
"""A shard settles when this many events have come, and as many as are waiting. Below, the calls
cost more than the events."""

FRUITLESS_SHARE, FRUITLESS_FACTOR, FRUITLESS_ROWS = 1 / 3, 3, 16_384
"""After a settle that let out a smaller share of its events, as it is while rows in random order
have been read in part, a shard waits until so many times as many events have come as are
waiting: a third less time goes to ordering. When more are waiting than this, what is let out
early is worth more: it is written while the rest is read."""

RECENT_ROWS = 16_384
"""How many delivered events one generation of a shard remembers; two generations of 8 shards are
262,144 events, about 16 MB."""

KNOWN = pa.schema(
    [
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("stream", pa.binary()),  # null: unreadable
        pa.field("delivered", pa.bool_(), nullable=False),
    ]
)
"""What is known of events outside the flow."""

SAMPLE = 16
"""How many look-ups of one settle may be wasted to find out whether they are worth it."""

LookUp = Callable[[pa.Array], pa.RecordBatch]
"""From distinct CIDs to those of them that exist, in any order, with schema KNOWN."""


@dataclass(frozen=True)
class OrderOut:
    """The two outputs of `order`."""

    ordered: Stream[pa.RecordBatch]
    """Batches of schema LINKS, or some of its columns, each event after its parent."""
    left: Stream[pa.RecordBatch]
    """At the end of input, batches of schema LEFT: what could not be delivered, with the reason."""


@operator
def order(  # noqa: D417 # step_id is Bytewax's
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[pa.RecordBatch],
    *,
    shards: int = SHARDS,
    look_up: LookUp | None = None,
    columns: Sequence[str] = LINKS.names,
    measure: Measure = unmeasured,
) -> OrderOut:
    """Hold events back until their parents have passed, and let them out parents first.

    Args:
        up: batches of schema LINKS, in any order.
        shards: how many groups of streams there are, each with its own state.
        look_up: tells of parents that do not come through this flow. It is asked once for each prev that has not been seen.
            Without it only init events begin a stream, and every delivered CID is remembered.
        columns: those that are let out; at the end of input nearly all events may be in memory once more.
        measure: measures the stages "split" and "order".
    """

    def split(batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
        with measure("split", batch.num_rows):
            return list(split_by_stream(batch, shards))

    keyed = op.flat_map("shard", up, split)
    settled = op.stateful_batch(
        "settle", keyed, lambda state: _Shard(look_up, columns, measure, *(state or ()))
    )
    branches = op.branch(
        "reason", op.key_rm("unkey", settled), lambda batch: "reason" in batch.schema.names
    )
    return OrderOut(ordered=branches.falses, left=branches.trues)


def split_by_stream(batch: pa.RecordBatch, shards: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Cut a batch of schema LINKS by shard: the last two bytes of the stream's CID, which are those of a digest, modulo `shards`."""
    streams = batch["stream"]
    offsets, data = (
        np.frombuffer(buffer, dtype=dtype)
        for buffer, dtype in zip(streams.buffers()[1:], (np.int32, np.uint8), strict=True)
    )
    ends = offsets[streams.offset + 1 : streams.offset + len(streams) + 1]
    shard = (data[ends - 1].astype(np.int64) * 256 + data[ends - 2]) % shards
    # numbers of one or two bytes are sorted in one pass or two
    rows = np.argsort(shard.astype(np.min_scalar_type(shards)), kind="stable")
    bounds = np.searchsorted(shard[rows], np.arange(shards + 1))
    for index in range(shards):
        mine = rows[bounds[index] : bounds[index + 1]]
        if len(mine):
            # a slice would carry its whole parent into another process
            yield str(index), batch.take(pa.array(mine))


HELD = pa.schema(
    [
        pa.field("rowid", pa.int64(), nullable=False),
        pa.field("cid", pa.binary(), nullable=False),
        pa.field(
            "stream", pa.dictionary(pa.int32(), pa.binary()), nullable=False
        ),  # a third of the memory of plain CIDs
        pa.field("prev", pa.binary()),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("asked", pa.int8(), nullable=False),  # what the look-up said of prev: UNASKED, ...
    ]
)
"""The state of a shard: about 100 bytes an event."""

_NOTHING = pa.RecordBatch.from_pylist([], schema=HELD)

UNASKED, POSTPONED, MISSING, UNDELIVERED, ELSEWHERE, DELIVERED = range(6)


@dataclass
class _Shard(
    StatefulBatchLogic[
        pa.RecordBatch, pa.RecordBatch, tuple[pa.RecordBatch, tuple[pa.RecordBatch, ...]]
    ]
):
    look_up: LookUp | None
    columns: Sequence[str]
    measure: Measure
    held: pa.RecordBatch = field(default_factory=lambda: _NOTHING)
    """Events that have waited through a settle, schema HELD."""
    new: tuple[pa.RecordBatch, ...] = ()
    """Batches of schema LINKS that have come since."""
    fruitless: bool = False
    """Whether the last settle let out few of them."""
    recent: Remembered = field(default_factory=Remembered)
    """What was delivered lately in this run, perhaps before the sink has written it."""
    older: Remembered = field(default_factory=Remembered)
    """The generation before."""
    newest_of_older: pa.Array | None = None
    """The CID in `older` that came last."""

    def on_batch(self, values: list[pa.RecordBatch]) -> tuple[Iterable[pa.RecordBatch], bool]:
        self.new += tuple(values)
        rows = sum(batch.num_rows for batch in self.new)
        backing_off = self.fruitless and self.held.num_rows < FRUITLESS_ROWS
        if rows < max(SETTLE_ROWS, self.held.num_rows * (FRUITLESS_FACTOR if backing_off else 1)):
            return [], self.RETAIN
        with self.measure("order", rows):
            events, settled = self._settle(at_end=False)
            self.fruitless = len(settled.order) < FRUITLESS_SHARE * events.num_rows
            self._remember(events.select(["cid", "stream"]).take(pa.array(settled.order)))
            return self._cut(events, settled), self.RETAIN

    def on_eof(self) -> tuple[Iterable[pa.RecordBatch], bool]:
        with self.measure("order", sum(batch.num_rows for batch in self.new)):
            events, settled = self._settle(at_end=True)
            left = [_explain(events, settled)] if len(settled.stuck) else []
            # nothing comes any more that could have one of these as its parent
            self.recent, self.older = Remembered(), Remembered()
            return [*self._cut(events, settled), *left], self.RETAIN

    def snapshot(self) -> tuple[pa.RecordBatch, tuple[pa.RecordBatch, ...]]:
        # what is remembered as delivered need not be kept: the sink has written it before this
        # epoch counts as done
        return self.held, self.new

    def _settle(self, *, at_end: bool) -> tuple[pa.RecordBatch, Settled]:
        """All waiting events, with schema HELD and what was learnt of their prevs, and how they are cut."""
        events = _hold(self.held, self.new)
        # freed before more is made of them; `_cut` keeps what goes on waiting
        self.held, self.new = _NOTHING, ()
        init = np.asarray(events["prev"].is_null())
        asked = np.array(events["asked"])
        stream = np.asarray(events["stream"].indices)
        parent = parent_rows(events["cid"], events["prev"])
        foreign = (parent != NONE) & (stream[parent] != stream)
        parent[foreign] = NONE
        asked[foreign] = ELSEWHERE
        # what is remembered must be asked at once, for it will be forgotten; a parent that comes
        # later is found in the table
        open_ones = (asked == UNASKED) | (at_end & (asked == POSTPONED))
        roots = np.flatnonzero((parent == NONE) & ~init & open_ones)
        if len(roots):
            asked[roots] = self._ask(events.take(pa.array(roots)), at_end=at_end)
        events = events.set_column(_ASKED, HELD.field(_ASKED), pa.array(asked))
        return events, settle(np.asarray(events["rowid"]), parent, init | (asked == DELIVERED))

    def _ask(self, roots: pa.RecordBatch, *, at_end: bool) -> NDArray[np.int8]:
        """What is known of the prevs of events whose parent is not waiting."""
        roots = _release(roots)
        remembered = self.recent.holds(roots["prev"], roots["stream"]) | self.older.holds(
            roots["prev"], roots["stream"]
        )
        asked = np.where(remembered, DELIVERED, UNASKED).astype(np.int8)
        unseen = np.flatnonzero(asked == UNASKED)
        if self.look_up is None:
            asked[unseen] = MISSING
        elif at_end:
            asked[unseen] = _look_up(self.look_up, roots.take(pa.array(unseen)))
        elif len(unseen):
            self._ask_what_is_worth_it(self.look_up, roots, asked, unseen)
        return asked

    def _ask_what_is_worth_it(
        self, look_up: LookUp, roots: pa.RecordBatch, asked: NDArray[np.int8], unseen: Rows
    ) -> None:
        """Ask of parents that are probably delivered: a look-up costs as much as reading an event.

        That is so of init events, and, where a run goes on after a stop, of any parent; a sample
        tells. In a database in random order most parents simply have not been read yet.
        """
        after_init = np.asarray(pc.equal(roots["prev"], roots["stream"]).take(pa.array(unseen)))
        others = unseen[~after_init]
        sample = np.concatenate([unseen[after_init], others[:SAMPLE]])
        asked[unseen] = POSTPONED
        asked[sample] = _look_up(look_up, roots.take(pa.array(sample)))
        if np.count_nonzero(asked[others[:SAMPLE]] == DELIVERED) * 2 > SAMPLE:
            asked[others[SAMPLE:]] = _look_up(look_up, roots.take(pa.array(others[SAMPLE:])))

    def _cut(self, events: pa.RecordBatch, settled: Settled) -> list[pa.RecordBatch]:
        """Keep what is stuck, and let out what can go."""
        self.held = _shrunk(events.take(pa.array(settled.stuck)))
        if not len(settled.order):
            return []
        ready = events.select(self.columns).take(pa.array(settled.order))
        if "stream" in self.columns:
            at = ready.schema.get_field_index("stream")
            ready = ready.set_column(at, LINKS.field("stream"), ready["stream"].dictionary_decode())
        return [ready]

    def _remember(self, ready: pa.RecordBatch) -> None:
        if not ready.num_rows:
            return
        self.recent.add(ready["cid"], ready["stream"])
        if self.look_up is None or len(self.recent) < RECENT_ROWS:
            return
        # batches are written in order, so once the newest of the older generation is, all of it is,
        # and the look-up knows it
        if self.newest_of_older is None or any(
            self.look_up(self.newest_of_older)["delivered"].to_pylist()
        ):
            self.older, self.recent = self.recent, Remembered()
            self.newest_of_older = ready["cid"].slice(ready.num_rows - 1)


def _look_up(look_up: LookUp, roots: pa.RecordBatch) -> NDArray[np.int8]:
    """What is known outside the flow of the prevs of events of schema LINKS."""
    if not roots.num_rows:
        return np.zeros(0, dtype=np.int8)
    found = look_up(pc.unique(roots["prev"]))
    row = pc.index_in(roots["prev"], value_set=found["cid"])
    exists, delivered, stream = (
        row.is_valid(),
        found["delivered"].take(row),
        found["stream"].take(row),
    )
    elsewhere = pc.and_(exists, pc.not_equal(stream, roots["stream"])).fill_null(False)
    unreadable = pc.and_(exists, stream.is_null())
    answer = pc.case_when(
        pc.make_struct(
            pc.invert(exists), elsewhere, pc.or_(unreadable, pc.invert(delivered).fill_null(False))
        ),
        *(pa.scalar(state, pa.int8()) for state in (MISSING, ELSEWHERE, UNDELIVERED, DELIVERED)),
    )
    return np.asarray(answer)


_STREAM, _ASKED = map(HELD.get_field_index, ("stream", "asked"))


def _hold(held: pa.RecordBatch, new: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All events of a shard with schema HELD: those that were held and, unasked, the new ones of schema LINKS."""
    if not new:
        return held
    # the streams are encoded all together, and everything is copied once
    streams = pa.concat_arrays([batch["stream"] for batch in new]).dictionary_encode()
    batches, start = [held], 0
    for batch in new:
        columns = [*batch.columns, pa.array(np.full(batch.num_rows, UNASKED, dtype=np.int8))]
        columns[_STREAM] = streams.slice(start, batch.num_rows)
        batches.append(pa.record_batch(columns, schema=HELD))
        start += batch.num_rows
    return pa.concat_batches(batches)


def _release(events: pa.RecordBatch) -> pa.RecordBatch:
    """Events of schema HELD as schema LINKS."""
    columns = [
        events["rowid"],
        events["cid"],
        events["stream"].dictionary_decode(),
        events["prev"],
        events["kind"],
    ]
    return pa.record_batch(columns, schema=LINKS)


def _shrunk(events: pa.RecordBatch) -> pa.RecordBatch:
    """The same events, without the streams that are no longer among them, if these are many."""
    streams = events["stream"]
    if len(streams.dictionary) <= events.num_rows:
        return events
    return events.set_column(
        _STREAM, HELD.field(_STREAM), streams.dictionary_decode().dictionary_encode()
    )


def _explain(events: pa.RecordBatch, settled: Settled) -> pa.RecordBatch:
    """Why each stuck event waits or is rejected: the reason lies at its topmost ancestor. Schema LEFT."""
    top = settled.top[settled.stuck]
    asked = np.asarray(events["asked"])[top]
    itself = top == settled.stuck
    circular = top == NONE
    missing = ~circular & np.isin(asked, (UNASKED, POSTPONED, MISSING))
    elsewhere = ~circular & (asked == ELSEWHERE)
    reason = np.select(
        [circular, missing, elsewhere & itself],
        [Reason.CYCLE, Reason.PREV_MISSING, Reason.OTHER_STREAM],
        Reason.PREV_REJECTED,
    )
    cause_is_top = elsewhere & ~itself
    cause_is_prev = ~circular & ~elsewhere
    ancestors = pa.array(np.where(circular, 0, top))
    cause = pc.if_else(
        pa.array(cause_is_top),
        events["cid"].take(ancestors),
        pc.if_else(
            pa.array(cause_is_prev), events["prev"].take(ancestors), pa.scalar(None, pa.binary())
        ),
    )
    stuck = _release(events.take(pa.array(settled.stuck)))
    reasons = pa.array(reason.tolist(), pa.string())
    return pa.record_batch(
        [stuck["rowid"], stuck["cid"], stuck["stream"], stuck["prev"], reasons, cause], schema=LEFT
    )
