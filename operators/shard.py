"""A shard: the waiting events of some streams, until they can go or the input ends."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray

from operators.encoding.columns import Rows, hashes
from operators.remembered import Remembered, RememberedRun
from operators.schemas import ORDERED, Measure
from operators.settle import NONE, Settled, parent_rows, settle
from operators.spill import Spill, SpillSettings
from operators.split import hashes_of_streams, split_rows
from operators.waiting import (
    DELIVERED,
    ELSEWHERE,
    EMITTED,
    MISSING,
    NO_EVENTS,
    POSTPONED,
    SPILLED_EVENTS,
    UNASKED,
    WAITING_EVENTS,
    LookUp,
    answered,
    decoded,
    emitted,
    encoded,
    explained,
    gathered,
    links_of,
    look_up_prevs,
    shrunk,
    with_answers,
    without_passing_answers,
)

_REMEMBERED_BYTES = 60
"""Bytes of each event in `Remembered`."""


@dataclass(frozen=True)
class OrderSettings:
    """How often a shard works, and what it keeps of what it has let out."""

    settle_rows: int = 2048
    """A shard settles when this many events have come. With fewer the calls cost more than the
    events."""
    waiting_factor: int = 2
    """And only when so many times as many have come as are waiting. Each event is then settled
    about one and a half times before it goes, whatever the order of the rows."""
    recent_rows: int = 16_384
    """Events of one generation that a shard remembers as let out; two generations of 8 shards are
    262,144 events, about 16 MB."""
    sample_rows: int = 16
    """Look-ups of one settle that are made to find out whether more of them pay."""


class ShardState(NamedTuple):
    """What a shard needs to go on after a stop; immutable, and nothing is copied into it."""

    held: pa.RecordBatch
    new: tuple[pa.RecordBatch, ...]
    next_level: int
    let_out: tuple[RememberedRun, ...]
    """What was let out, where no look-up knows it."""
    is_spilled: bool
    """The waiting events are in files that end with the process."""


@dataclass(frozen=True)
class ShardJob:
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
        """Take all batches out."""
        batches = self.batches()
        self._batches, self.rows, self.bytes = [], 0, 0
        return batches


@dataclass
class Shard(StatefulBatchLogic[pa.RecordBatch, pa.RecordBatch, ShardState]):
    """The waiting events of some streams.

    They are in memory until they take more than their share. From then on everything goes to a
    file, by a hash of the stream, and is settled at the end of input, one part after the other: a
    stream never needs another, so that changes no order within one.
    """

    job: ShardJob
    held: pa.RecordBatch
    """Events that have waited through a settle, schema WAITING_EVENTS."""
    new: _New = field(default_factory=_New)
    """Events that have come since the last settle."""
    next_level: int = 0
    """A level above those of all events that were let out."""
    recent: Remembered = field(default_factory=Remembered)
    """Events that were let out lately; perhaps the sink has not written them yet."""
    older: Remembered = field(default_factory=Remembered)
    """Events that were let out before those in `recent`."""
    newest_of_older: pa.Array | None = None
    """The CID in `older` that came last."""
    spilled: Spill | None = None

    def on_batch(self, values: list[pa.RecordBatch]) -> tuple[Iterable[pa.RecordBatch], bool]:
        """Take events; those that can go come out once it is time to settle."""
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
            everything = gathered(self.held, self.new.taken())
            # its memory is freed before more is needed
            self.held = NO_EVENTS
            events, settled = self._settle(everything, at_end=False)
            ready = self._let_out(events, settled)
            self._remember(events.select(["cid", "stream"]).take(pa.array(settled.order)))
            columns, stuck = events.columns, pa.array(settled.stuck)
            del everything, events, settled
            for at, column in enumerate(columns):
                columns[at] = column.take(stuck)
            self.held = shrunk(pa.record_batch(columns, schema=WAITING_EVENTS))
            if is_full:
                self._spill_all()
        return ready, self.RETAIN

    def on_eof(self) -> tuple[Iterable[pa.RecordBatch], bool]:
        """Let out all that can go, and say why the rest stays."""
        with self.job.measure("order", self.new.rows):
            if self.spilled is not None and self.job.spill is not None:
                return self._settle_parts(self.spilled, self.job.spill), self.RETAIN
            everything = gathered(self.held, self.new.taken())
            # its memory is freed before more is needed
            self.held = NO_EVENTS
            ready, left = self._settle_at_end(everything)
            # nothing comes any more that could have one of these as its parent
            self.recent, self.older = Remembered(), Remembered()
            return [*ready, *left], self.RETAIN

    def snapshot(self) -> ShardState:
        """What a recovery of Bytewax stores."""
        # a look-up knows what was let out: the sink has written it before this epoch counts as done
        has_look_up = self.job.look_up is not None
        let_out = () if has_look_up else (*self.older.runs, *self.recent.runs)
        return ShardState(
            self.held, self.new.batches(), self.next_level, let_out, self.spilled is not None
        )

    def _settle_at_end(
        self, events: pa.RecordBatch
    ) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """What can go, and why the rest can't."""
        events, settled = self._settle(events, at_end=True)
        return self._let_out(events, settled), explained(events, settled)

    def _settle(self, events: pa.RecordBatch, *, at_end: bool) -> tuple[pa.RecordBatch, Settled]:
        """The same events with what was learnt of their prevs, and how they are cut."""
        init = np.asarray(events["prev"].is_null())
        answer = np.array(events["answer"])
        stream = np.asarray(events["stream"].indices)
        parent = parent_rows(events["cid"], events["prev"])
        foreign = (parent != NONE) & (stream[parent] != stream)
        parent[foreign] = NONE
        answer[foreign] = ELSEWHERE
        # `Remembered` must be asked at once, because it forgets; a parent that comes later is found
        # in the table
        open_ones = (answer == UNASKED) | (at_end & (answer == POSTPONED))
        roots = np.flatnonzero((parent == NONE) & ~init & open_ones)
        if len(roots):
            answer[roots] = self._ask(events.take(pa.array(roots)), at_end=at_end)
        settled = settle(np.asarray(events["rowid"]), parent, init | (answer == DELIVERED))
        return answered(events, answer), settled

    def _ask(self, roots: pa.RecordBatch, *, at_end: bool) -> NDArray[np.int8]:
        """What is known of the prevs of events whose parent is not waiting."""
        roots = links_of(roots)
        prev, stream = roots["prev"], roots["stream"]
        word = hashes(prev)
        remembered = self.recent.holds(prev, stream, word) | self.older.holds(prev, stream, word)
        answer = np.where(remembered, DELIVERED, UNASKED).astype(np.int8)
        unseen = np.flatnonzero(answer == UNASKED)
        if self.job.look_up is None:
            answer[unseen] = MISSING
        elif at_end:
            answer[unseen] = look_up_prevs(self.job.look_up, roots.take(pa.array(unseen)))
            if (answer == UNASKED).any():
                raise ValueError("at the end of input a look-up must know all that it is asked for")
        elif len(unseen):
            self._ask_what_is_worth_it(self.job.look_up, roots, answer, unseen)
        return answer

    def _ask_what_is_worth_it(
        self, look_up: LookUp, roots: pa.RecordBatch, answer: NDArray[np.int8], unseen: Rows
    ) -> None:
        """Look up parents that are probably delivered: each costs as much as reading an event.

        Init events probably are; where a run goes on after a stop, any parent may be, which a
        sample shows. In a database in random order most parents simply have not been read yet.
        """
        most = self.job.settings.sample_rows
        is_first = pc.equal(roots["prev"], roots["stream"]).take(pa.array(unseen))
        after_init = np.asarray(is_first)
        others = unseen[~after_init]
        sample = np.concatenate([unseen[after_init], others[:most]])
        answer[unseen] = POSTPONED
        answer[sample] = look_up_prevs(look_up, roots.take(pa.array(sample)))
        if np.count_nonzero(answer[others[:most]] == DELIVERED) * 2 > most:
            more = others[most:]
            answer[more] = look_up_prevs(look_up, roots.take(pa.array(more)))

    def _let_out(self, events: pa.RecordBatch, settled: Settled) -> list[pa.RecordBatch]:
        """What can go now, as a batch with the wanted columns."""
        going = np.asarray(events["answer"])[settled.order] != EMITTED
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
        # batches are written in order: once the newest event of the older generation is written,
        # all of that generation is, and the look-up knows it
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
            part = (hashes_of_streams(events["stream"]) >> np.uint64(32)) % np.uint64(parts)
            for index, rows in split_rows(events, part, parts):
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


def resumed(job: ShardJob, state: ShardState) -> Shard:
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
    held = without_passing_answers(state.held)
    return Shard(job, held, _New(state.new), state.next_level, recent)
