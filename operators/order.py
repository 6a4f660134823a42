"""Order: the stateful step that holds events until their parents are delivered.

The order of a stream never depends on another stream, but the Bytewax key is a shard, a fixed
number of groups of streams: recovery time and memory grow with the number of keys, and a million
streams would be a million keys.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray

from operators.encoding.columns import Rows, hashes
from operators.remembered import Remembered, Run
from operators.schemas import LINKS, ORDERED, Measure, as_schema, unmeasured
from operators.settle import NONE, Settled, parent_rows, settle
from operators.spill import Spill, SpillSettings
from operators.waiting import (
    DELIVERED,
    ELSEWHERE,
    EMITTED,
    KNOWN,
    MISSING,
    NO_EVENTS,
    POSTPONED,
    SPILLED_EVENTS,
    UNASKED,
    LookUp,
    answered,
    asked_anew,
    decoded,
    emitted,
    encoded,
    explained,
    gathered,
    links_of,
    look_up_prevs,
    shrunk,
    with_answers,
)

__all__ = ["KNOWN", "SHARDS", "LookUp", "OrderOut", "OrderSettings", "order", "split_by_stream"]

SHARDS = 8
"""Enough for the workers of one machine, few enough that a page of 8,192 events gives each shard a
thousand."""


_REMEMBERED_BYTES = 60
"""Of each event in `Remembered`."""


@dataclass(frozen=True)
class OrderSettings:
    """How often a shard works, and what it keeps of what it has let out."""

    settle_rows: int = 2048
    """A shard settles when this many events have come. With fewer the calls cost more than the
    events."""
    waiting_factor: int = 2
    """And when so many times as many have come as are waiting: each event is then settled about
    one and a half times before it goes, whatever the order of the rows."""
    recent_rows: int = 16_384
    """Events of one generation that a shard remembers as let out; two generations of 8 shards are
    262,144 events, about 16 MB."""
    sample_rows: int = 16
    """Look-ups of one settle that may be wasted to find out whether they are worth it."""


@dataclass(frozen=True)
class OrderOut:
    """The two outputs of `order`."""

    ordered: Stream[pa.RecordBatch]
    """Batches of schema ORDERED, or some of its columns, each event after its parent."""
    left: Stream[pa.RecordBatch]
    """At the end of input, batches of schema LEFT: what could not be delivered, with the reason."""


@operator
def order(  # noqa: D417 # step_id is Bytewax's
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[pa.RecordBatch],
    *,
    shards: int = SHARDS,
    look_up: LookUp | None = None,
    columns: Sequence[str] = ORDERED.names,
    spill: SpillSettings | None = None,
    measure: Measure = unmeasured,
    settings: OrderSettings = OrderSettings(),  # frozen
) -> OrderOut:
    """Hold events back until their parents have passed, and let them out parents first.

    Args:
        up: batches of schema LINKS, in any order; a ValueError names a column that can't be cast
            to it.
        shards: how many groups of streams there are, each with its own state.
        look_up: tells of parents that do not come through this flow. It is asked once for each
            prev that has not been seen, and again where it does not know yet. Without it only init
            events start a stream, and every CID that was let out is remembered.
        columns: those of ORDERED that are let out.
        spill: where a shard goes that does not fit in memory; None: everything stays in memory.
        measure: measures the stages "split" and "order".
        settings: how often a shard works.
    """
    names = count()

    def split(batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
        with measure("split", batch.num_rows):
            return list(split_by_stream(as_schema(batch, LINKS), shards))

    def new_shard(state: _State | None) -> _Shard:
        job = _Job(look_up, columns, spill, measure, settings, next(names))
        return _Shard(job, NO_EVENTS) if state is None else _resumed(job, state)

    keyed = op.flat_map("shard", up, split)
    settled = op.stateful_batch("settle", keyed, new_shard)
    unkeyed = op.key_rm("unkey", settled)
    branches = op.branch("reason", unkeyed, lambda batch: "reason" in batch.schema.names)
    return OrderOut(ordered=branches.falses, left=branches.trues)


def split_by_stream(batch: pa.RecordBatch, shards: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Cut a batch of schema LINKS by shard, a hash of the stream modulo `shards`."""
    for shard, part in _split(batch, _hashes(batch["stream"]) % np.uint64(shards), shards):
        yield str(shard), part


def _hashes(stream: pa.Array) -> NDArray[np.uint64]:
    """A hash of each stream; its upper half is as well mixed as its lower one."""
    mixed = hashes(stream)
    return mixed ^ (mixed >> np.uint64(32))


def _split(
    batch: pa.RecordBatch, part: NDArray[np.uint64], parts: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each part that has any, in their order."""
    # numbers of one or two bytes are sorted in one pass or two
    part = part.astype(np.min_scalar_type(parts))
    rows = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[rows], np.arange(parts + 1))
    for index in range(parts):
        mine = rows[bounds[index] : bounds[index + 1]]
        if len(mine):
            # a slice would carry its whole parent into another process
            yield index, batch.take(pa.array(mine))


class _State(NamedTuple):
    """What a shard needs to go on after a stop; immutable, and nothing is copied into it."""

    held: pa.RecordBatch
    new: tuple[pa.RecordBatch, ...]
    next_level: int
    let_out: tuple[Run, ...]
    """What was let out, where no look-up knows it."""
    is_spilled: bool
    """The waiting events are in files that end with the process."""


@dataclass(frozen=True)
class _Job:
    """What all shards share, and the number of one."""

    look_up: LookUp | None
    columns: Sequence[str]
    spill: SpillSettings | None
    measure: Measure
    settings: OrderSettings
    number: int


class _New:
    """Batches of schema LINKS that no settle has seen.

    Their rows and bytes are counted as they come: there may be a thousand when the next one comes.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch] = ()) -> None:
        self._batches: list[pa.RecordBatch] = []
        self.rows = self.bytes = 0
        self.add(batches)

    def add(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._batches += batches
        self.rows += sum(batch.num_rows for batch in batches)
        self.bytes += sum(batch.nbytes for batch in batches)

    def batches(self) -> tuple[pa.RecordBatch, ...]:
        return tuple(self._batches)

    def taken(self) -> tuple[pa.RecordBatch, ...]:
        """All of them; none is left."""
        batches = self.batches()
        self._batches, self.rows, self.bytes = [], 0, 0
        return batches


@dataclass
class _Shard(StatefulBatchLogic[pa.RecordBatch, pa.RecordBatch, _State]):
    """The waiting events of some streams.

    They are in memory until they take more than their share. From then on everything goes to a
    file, by a hash of the stream, and is settled at the end of input, one part after the other: a
    stream never needs another, so that changes no order within one.
    """

    job: _Job
    held: pa.RecordBatch
    """Events that have waited through a settle, schema WAITING_EVENTS."""
    new: _New = field(default_factory=_New)
    """What has come since."""
    next_level: int = 0
    """Above the levels of everything that was let out."""
    recent: Remembered = field(default_factory=Remembered)
    """What was let out lately, perhaps before the sink has written it."""
    older: Remembered = field(default_factory=Remembered)
    """The generation before."""
    newest_of_older: pa.Array | None = None
    """The CID in `older` that came last."""
    spilled: Spill | None = None

    def on_batch(self, values: list[pa.RecordBatch]) -> tuple[Iterable[pa.RecordBatch], bool]:
        self.new.add(values)
        rows = self.new.rows
        if self.spilled is not None and self.job.spill is not None:
            if rows >= self.job.spill.flush_rows:
                with self.job.measure("order", rows):
                    self._spill_new(self.spilled)
            return [], self.RETAIN
        is_full = self._is_full()
        if (
            rows
            < max(
                self.job.settings.settle_rows, self.job.settings.waiting_factor * self.held.num_rows
            )
            and not is_full
        ):
            return [], self.RETAIN
        with self.job.measure("order", rows):
            events, settled = self._settle(gathered(self.held, self.new.taken()), at_end=False)
            self.held = shrunk(events.take(pa.array(settled.stuck)))
            ready = self._let_out(events, settled)
            self._remember(events.select(["cid", "stream"]).take(pa.array(settled.order)))
            if is_full:
                self._spill_all()
        return ready, self.RETAIN

    def on_eof(self) -> tuple[Iterable[pa.RecordBatch], bool]:
        with self.job.measure("order", self.new.rows):
            if self.spilled is not None and self.job.spill is not None:
                return self._settle_parts(self.spilled, self.job.spill), self.RETAIN
            everything = gathered(self.held, self.new.taken())
            # freed before more is made of it
            self.held = NO_EVENTS
            ready, left = self._settle_at_end(everything)
            # nothing comes any more that could have one of these as its parent
            self.recent, self.older = Remembered(), Remembered()
            return [*ready, *left], self.RETAIN

    def snapshot(self) -> _State:
        # a look-up knows what was let out: the sink has written it before this epoch counts as done
        has_look_up = self.job.look_up is not None
        let_out = () if has_look_up else (*self.older.runs, *self.recent.runs)
        return _State(
            self.held, self.new.batches(), self.next_level, let_out, self.spilled is not None
        )

    def _settle_at_end(
        self, events: pa.RecordBatch
    ) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
        """What can go, and why the rest can't."""
        events, settled = self._settle(events, at_end=True)
        left = [explained(events, settled)] if len(settled.stuck) else []
        return self._let_out(events, settled), left

    def _settle(self, events: pa.RecordBatch, *, at_end: bool) -> tuple[pa.RecordBatch, Settled]:
        """The same events with what was learnt of their prevs, and how they are cut."""
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
        settled = settle(np.asarray(events["rowid"]), parent, init | (asked == DELIVERED))
        return answered(events, asked), settled

    def _ask(self, roots: pa.RecordBatch, *, at_end: bool) -> NDArray[np.int8]:
        """What is known of the prevs of events whose parent is not waiting."""
        roots = links_of(roots)
        prev, stream = roots["prev"], roots["stream"]
        remembered = self.recent.holds(prev, stream) | self.older.holds(prev, stream)
        asked = np.where(remembered, DELIVERED, UNASKED).astype(np.int8)
        unseen = np.flatnonzero(asked == UNASKED)
        if self.job.look_up is None:
            asked[unseen] = MISSING
        elif at_end:
            asked[unseen] = look_up_prevs(self.job.look_up, roots.take(pa.array(unseen)))
            if (asked == UNASKED).any():
                raise ValueError("at the end of input a look-up must know all that it is asked for")
        elif len(unseen):
            self._ask_what_is_worth_it(self.job.look_up, roots, asked, unseen)
        return asked

    def _ask_what_is_worth_it(
        self, look_up: LookUp, roots: pa.RecordBatch, asked: NDArray[np.int8], unseen: Rows
    ) -> None:
        """Ask of parents that are probably delivered: a look-up costs as much as reading an event.

        That is so of init events, and, where a run goes on after a stop, of any parent; a sample
        tells. In a database in random order most parents simply have not been read yet.
        """
        most = self.job.settings.sample_rows
        is_first = pc.equal(roots["prev"], roots["stream"]).take(pa.array(unseen))
        after_init = np.asarray(is_first)
        others = unseen[~after_init]
        sample = np.concatenate([unseen[after_init], others[:most]])
        asked[unseen] = POSTPONED
        asked[sample] = look_up_prevs(look_up, roots.take(pa.array(sample)))
        if np.count_nonzero(asked[others[:most]] == DELIVERED) * 2 > most:
            more = others[most:]
            asked[more] = look_up_prevs(look_up, roots.take(pa.array(more)))

    def _let_out(self, events: pa.RecordBatch, settled: Settled) -> list[pa.RecordBatch]:
        """What can go now, as a batch with the wanted columns."""
        going = np.asarray(events["asked"])[settled.order] != EMITTED
        rows, depth = settled.order[going], settled.depth[going].astype(np.int64)
        if not len(rows):
            return []
        at = pa.array(rows)
        columns = {name: events[name].take(at) for name in self.job.columns if name != "level"}
        if "stream" in columns:
            columns["stream"] = columns["stream"].dictionary_decode()
        columns["level"] = pa.array(self.next_level + depth)
        if self.spilled is None:
            self.next_level += int(depth.max()) + 1
        return [
            pa.record_batch(
                [columns[name] for name in self.job.columns],
                schema=pa.schema([ORDERED.field(name) for name in self.job.columns]),
            )
        ]

    def _remember(self, ready: pa.RecordBatch) -> None:
        if not ready.num_rows:
            return
        self.recent.add(ready["cid"], ready["stream"])
        look_up = self.job.look_up
        if look_up is None or len(self.recent) < self.job.settings.recent_rows:
            return
        # batches are written in order, so once the newest of the older generation is, all of it
        # is, and the look-up knows it
        newest = self.newest_of_older
        if newest is None or any(look_up(newest)["delivered"].to_pylist()):
            self.older, self.recent = self.recent, Remembered()
            self.newest_of_older = ready["cid"].slice(ready.num_rows - 1)

    def _is_full(self) -> bool:
        """Whether the shard takes more memory than its share."""
        if self.job.spill is None:
            return False
        waiting = self.held.nbytes + self.new.bytes
        let_out = _REMEMBERED_BYTES * (len(self.recent) + len(self.older))
        return bool(waiting + let_out > self.job.spill.shard_bytes)

    def _spill_all(self) -> None:
        """Go on in a file, if what is left still takes half of the share."""
        if self.job.spill is None:
            return
        let_out = _REMEMBERED_BYTES * (len(self.recent) + len(self.older))
        if self.held.nbytes + let_out <= self.job.spill.shard_bytes // 2:
            return
        path = self.job.spill.folder() / f"waiting-{self.job.number}.arrow"
        self.spilled = Spill(path, SPILLED_EVENTS)
        self._spill(self.spilled, decoded(self.held))
        for run in (*self.recent.runs, *self.older.runs):
            self._spill(self.spilled, emitted(run.cid, run.stream.dictionary_decode()))
        self.held = NO_EVENTS
        self.recent, self.older, self.newest_of_older = Remembered(), Remembered(), None

    def _spill_new(self, spilled: Spill) -> None:
        if self.new.rows:
            self._spill(spilled, with_answers(pa.concat_batches(self.new.taken()), UNASKED))

    def _spill(self, spilled: Spill, events: pa.RecordBatch) -> None:
        if self.job.spill is not None:
            parts = self.job.spill.partitions
            part = (_hashes(events["stream"]) >> np.uint64(32)) % np.uint64(parts)
            for index, rows in _split(events, part, parts):
                spilled.add(index, rows)

    def _settle_parts(self, spilled: Spill, spill: SpillSettings) -> list[pa.RecordBatch]:
        """Settle part by part; what can go and what can't is in files until it is read."""
        self._spill_new(spilled)
        files: dict[str, Spill] = {}
        for part in range(spill.partitions):
            batches = spilled.batches(part)
            if not batches:
                continue
            ready, left = self._settle_at_end(encoded(pa.concat_batches(batches)))
            for name, out in (("ordered", ready), ("left", left)):
                for batch in out:
                    if name not in files:
                        path = spill.folder() / f"{name}-{self.job.number}.arrow"
                        files[name] = Spill(path, batch.schema)
                    files[name].add(0, batch)
        spilled.remove()
        return [batch for file in files.values() for batch in file.batches(0)]


def _resumed(job: _Job, state: _State) -> _Shard:
    """The shard that goes on from a state of recovery.

    Raises:
        ValueError: its events went to files that ended with that process.
    """
    if state.is_spilled:
        raise ValueError(
            "the waiting events of this recovery store went to files, so it can't be resumed: "
            "run again from the start without it, or give `order` no `spill`"
        )
    recent = Remembered(state.let_out)
    return _Shard(job, asked_anew(state.held), _New(state.new), state.next_level, recent)
