"""Order: the stateful step that holds events until their parents are delivered.

The order of a stream never depends on another stream, but the Bytewax key is a shard, a fixed number of groups of streams: recovery
time and memory grow with the number of keys, and a million streams would be a million keys.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray

from operators.schemas import LEFT, LINKS, Reason
from operators.settle import NONE, Mask, Settled, parent_rows, settle

SHARDS = 16
"""Enough for the workers of one machine, few enough that a page of 4,096 events gives each shard some 256."""

SETTLE_ROWS = 1024
"""A shard settles when this many events have come, and as many as are waiting. Below, the calls cost more than the events."""

RECENT_ROWS = 8192
"""How many delivered CIDs one generation of a shard remembers; two generations of 16 shards are 262,144 CIDs, about 37 MB."""

KNOWN = pa.schema(
    [
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("stream", pa.binary()),  # null: unreadable
        pa.field("delivered", pa.bool_(), nullable=False),
    ]
)
"""What is known of events outside the flow."""

LookUp = Callable[[pa.Array], pa.RecordBatch]
"""From distinct CIDs to those of them that exist, in any order, with schema KNOWN."""


@dataclass(frozen=True)
class OrderOut:
    """The two outputs of `order`."""

    ordered: Stream[pa.RecordBatch]
    """Batches of schema LINKS, each event after its parent."""
    left: Stream[pa.RecordBatch]
    """At the end of input, batches of schema LEFT: what could not be delivered, with the reason."""


@operator
def order(  # noqa: D417 # step_id is Bytewax's
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[pa.RecordBatch],
    *,
    shards: int = SHARDS,
    look_up: LookUp | None = None,
) -> OrderOut:
    """Hold events back until their parents have passed, and let them out parents first.

    Args:
        up: batches of schema LINKS, in any order.
        shards: how many groups of streams there are, each with its own state.
        look_up: tells of parents that do not come through this flow. It is asked once for each prev that has not been seen.
            Without it only init events begin a stream, and every delivered CID is remembered.
    """
    keyed = op.flat_map("shard", up, lambda batch: split_by_stream(batch, shards))
    settled = op.stateful_batch("settle", keyed, lambda state: _Shard(look_up, *(state or ())))
    branches = op.branch("reason", op.key_rm("unkey", settled), lambda batch: "reason" in batch.schema.names)
    return OrderOut(ordered=branches.falses, left=branches.trues)


def split_by_stream(batch: pa.RecordBatch, shards: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Cut a batch of schema LINKS by shard: the last two bytes of the stream's CID, which are those of a digest, modulo `shards`."""
    streams = batch["stream"]
    offsets, data = (np.frombuffer(buffer, dtype=dtype) for buffer, dtype in zip(streams.buffers()[1:], (np.int32, np.uint8), strict=True))
    ends = offsets[streams.offset + 1 : streams.offset + len(streams) + 1]
    shard = (data[ends - 1].astype(np.int64) * 256 + data[ends - 2]) % shards
    rows = np.argsort(shard, kind="stable")
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
        pa.field("stream", pa.dictionary(pa.int32(), pa.binary()), nullable=False),  # a third of the memory of plain CIDs
        pa.field("prev", pa.binary()),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("asked", pa.int8(), nullable=False),  # what the look-up said of prev: UNASKED, ...
    ]
)
"""The state of a shard: about 100 bytes an event."""

UNASKED, MISSING, UNDELIVERED, ELSEWHERE = range(4)


@dataclass
class _Shard(StatefulBatchLogic[pa.RecordBatch, pa.RecordBatch, tuple[pa.RecordBatch, tuple[pa.RecordBatch, ...]]]):
    look_up: LookUp | None
    held: pa.RecordBatch = field(default_factory=lambda: pa.RecordBatch.from_pylist([], schema=HELD))
    """Events that have waited through a settle, schema HELD."""
    new: tuple[pa.RecordBatch, ...] = ()
    """Batches of schema LINKS that have come since."""
    recent: dict[bytes, bytes] = field(default_factory=dict)
    """CID to stream of what was delivered lately in this run, perhaps before the sink has written it."""
    older: dict[bytes, bytes] = field(default_factory=dict)
    """The generation before."""

    def on_batch(self, values: list[pa.RecordBatch]) -> tuple[Iterable[pa.RecordBatch], bool]:
        self.new += tuple(values)
        if sum(batch.num_rows for batch in self.new) < max(SETTLE_ROWS, self.held.num_rows):
            return [], self.RETAIN
        events, settled = self._settle()
        return self._cut(events, settled), self.RETAIN

    def on_eof(self) -> tuple[Iterable[pa.RecordBatch], bool]:
        events, settled = self._settle()
        left = [_explain(events, settled)] if len(settled.stuck) else []
        return [*self._cut(events, settled), *left], self.RETAIN

    def snapshot(self) -> tuple[pa.RecordBatch, tuple[pa.RecordBatch, ...]]:
        # what is remembered as delivered need not be kept: the sink has written it before this epoch counts as done
        return self.held, self.new

    def _settle(self) -> tuple[pa.RecordBatch, Settled]:
        """All waiting events, with schema HELD and what was learnt of their prevs, and how they are cut."""
        events = _hold(self.held, self.new)
        init = np.asarray(events["prev"].is_null())
        asked = np.array(events["asked"])
        stream = np.asarray(events["stream"].indices)
        parent = parent_rows(events["cid"], events["prev"])
        foreign = (parent != NONE) & (stream[parent] != stream)
        parent[foreign] = NONE
        asked[foreign] = ELSEWHERE
        unasked = np.flatnonzero((parent == NONE) & ~init & (asked == UNASKED))
        ready = init
        if len(unasked):
            ready[unasked], asked[unasked] = self._ask(events.take(pa.array(unasked)))
        events = events.set_column(HELD.get_field_index("asked"), HELD.field("asked"), pa.array(asked, pa.int8()))
        return events, settle(np.asarray(events["rowid"]), parent, ready)

    def _ask(self, roots: pa.RecordBatch) -> tuple[Mask, NDArray[np.int8]]:
        """Of events whose parent is not waiting: is it delivered, and what does that say of each."""
        prevs, streams = roots["prev"].to_pylist(), roots["stream"].to_pylist()
        known = [self.recent.get(prev) or self.older.get(prev) for prev in prevs]
        delivered = np.array([stream == of_prev for stream, of_prev in zip(streams, known, strict=True)])
        asked = np.where([of_prev is None for of_prev in known], MISSING, np.where(delivered, UNASKED, ELSEWHERE)).astype(np.int8)
        unseen = np.flatnonzero(asked == MISSING)
        if self.look_up is None or not len(unseen):
            return delivered, asked
        found = self.look_up(pc.unique(roots["prev"].take(pa.array(unseen))))
        answers = zip(*(found[name].to_pylist() for name in KNOWN.names), strict=True)
        answer_of = {cid: (stream, is_delivered) for cid, stream, is_delivered in answers}
        for row in unseen.tolist():
            if (answer := answer_of.get(prevs[row])) is None:
                continue
            of_prev, is_delivered = answer
            delivered[row] = is_delivered and of_prev == streams[row]
            asked[row] = ELSEWHERE if of_prev not in {None, streams[row]} else UNDELIVERED
        return delivered, asked

    def _cut(self, events: pa.RecordBatch, settled: Settled) -> list[pa.RecordBatch]:
        """Keep what is stuck, remember and return what can go."""
        self.held, self.new = _shrunk(events.take(pa.array(settled.stuck))), ()
        if not len(settled.order):
            return []
        ready = _release(events.take(pa.array(settled.order)))
        self._remember(ready)
        return [ready]

    def _remember(self, ready: pa.RecordBatch) -> None:
        self.recent.update(zip(ready["cid"].to_pylist(), ready["stream"].to_pylist(), strict=True))
        if self.look_up is None or len(self.recent) < RECENT_ROWS:
            return
        # batches are written in order, so once the newest of the older generation is, all of it is, and the look-up knows it
        newest = pa.array([next(reversed(self.older))], pa.binary()) if self.older else None
        if newest is None or any(self.look_up(newest)["delivered"].to_pylist()):
            self.older, self.recent = self.recent, {}


_PLAIN = LINKS.append(HELD.field("asked"))
_STREAM = HELD.get_field_index("stream")


def _hold(held: pa.RecordBatch, new: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """All events of a shard with schema HELD: those that were held and, unasked, the new ones of schema LINKS."""
    batches = [pa.record_batch([*_release(held).columns, held["asked"]], schema=_PLAIN)]
    for batch in new:
        unasked = pa.array(np.full(batch.num_rows, UNASKED, dtype=np.int8))
        batches.append(pa.record_batch([*batch.columns, unasked], schema=_PLAIN))
    events = pa.concat_batches(batches)
    return events.set_column(_STREAM, HELD.field(_STREAM), events["stream"].dictionary_encode())


def _release(events: pa.RecordBatch) -> pa.RecordBatch:
    """Events of schema HELD as schema LINKS."""
    columns = [events["rowid"], events["cid"], events["stream"].dictionary_decode(), events["prev"], events["kind"]]
    return pa.record_batch(columns, schema=LINKS)


def _shrunk(events: pa.RecordBatch) -> pa.RecordBatch:
    """The same events, without the streams that are no longer among them."""
    return events.set_column(_STREAM, HELD.field(_STREAM), events["stream"].dictionary_decode().dictionary_encode())


def _explain(events: pa.RecordBatch, settled: Settled) -> pa.RecordBatch:
    """Why each stuck event waits or is rejected: the reason lies at its topmost ancestor. Schema LEFT."""
    top = settled.top[settled.stuck]
    asked = np.asarray(events["asked"])[top]
    itself = top == settled.stuck
    circular = top == NONE
    missing = ~circular & np.isin(asked, (UNASKED, MISSING))
    elsewhere = ~circular & (asked == ELSEWHERE)
    reason = np.select(
        [circular, missing, elsewhere & itself], [Reason.CYCLE, Reason.PREV_MISSING, Reason.OTHER_STREAM], Reason.PREV_REJECTED
    )
    cause_is_top = elsewhere & ~itself
    cause_is_prev = ~circular & ~elsewhere
    ancestors = pa.array(np.where(circular, 0, top))
    cause = pc.if_else(
        pa.array(cause_is_top),
        events["cid"].take(ancestors),
        pc.if_else(pa.array(cause_is_prev), events["prev"].take(ancestors), pa.scalar(None, pa.binary())),
    )
    stuck = _release(events.take(pa.array(settled.stuck)))
    reasons = pa.array(reason.tolist(), pa.string())
    return pa.record_batch([stuck["rowid"], stuck["cid"], stuck["stream"], stuck["prev"], reasons, cause], schema=LEFT)
