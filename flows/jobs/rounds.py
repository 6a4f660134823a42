"""Rounds: the flow of a run, again and again, on what has come to a database since.

Between two rounds only `Awaited` is kept, in memory. The database stays the state: what is
forgotten is read from it again.
"""

import gc
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.claim import Claim
from connectors.errors import InterruptedRunError
from connectors.lookup import BLOCK, PreparedLookUp
from connectors.news import ListedSource, schema_version
from connectors.numbers import highest_number
from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.scratch import Scratch
from connectors.sink import ChangedRowsError, DeliveredSink
from connectors.sqlite import Connection
from flows.init_scan import ScanSettings
from flows.jobs.job import Job, order_into, run_into
from flows.jobs.runner import batches_kept
from flows.lookups import LookUpSettings
from operators.awaited import ENTRY, READ, Awaited, Entries, Rowids, read_entries
from operators.encoding.cid import root_multihashes
from operators.encoding.envelope import payload_multihashes
from operators.schemas import LEFT, WAITING, Reason

NEVER = 2.0
"""A share of all events that is never reached: no round scans the delivered init events, as a run
does where that saves time."""

COPIES = 3
"""How many copies of what is kept there are in memory while a round ends."""

ROOTS_TOGETHER = 64
"""Root blocks that are looked up in one call: some may have megabytes."""

TRIES = 100
"""Rounds in a row that may fail because another program changed what they had read. With ten, a
program that changed the schema twice a second and deleted 80 events made a run give up."""

NO_ROWS = np.empty(0, np.int64)


class Rounds:
    """The rounds on one database, which this process claims."""

    def __init__(self, job: Job, held: Claim, checkpoint_pages: int) -> None:
        """Nothing is read yet. A commit checkpoints a WAL of so many pages."""
        self.total = job.run_state
        """What all rounds have done."""
        self.awaited = Awaited(job.options.memory.order // (COPIES * ENTRY.itemsize))
        self.last_number = highest_number(held.connection, job.path)
        """The highest number, as far as nobody else gives any."""
        self._job, self._held, self._checkpoint_pages = job, held, checkpoint_pages
        self._round = RunState()
        """The state of the round that is under way, unless that is the first one."""
        self._roots = PreparedLookUp(job.path, BLOCK, held.connect)

    def close(self) -> None:
        """Close what was opened."""
        self._roots.close()

    def kept(self) -> str:
        """What is kept of all that was delivered."""
        events = self.total.delivered + self._round.delivered
        return batches_kept(
            RunState(delivered=events, batches=self.total.batches + self._round.batches)
        )

    def append(self, left: pa.RecordBatch) -> None:
        """Note what a round leaves, of schema LEFT."""
        if not self._job.options.check_node:
            # without it an event may name a payload that is not listed for it
            left = _with_payloads(left, self._roots)
        self.awaited.append(left)

    def run(self) -> None:
        """The first round: a run on all that is undelivered.

        Raises:
            InterruptedRunError: it did not come to its end.
        """
        pages = self._job.options.sink.checkpoint_pages
        try:
            run_into(self._job, self._sink(self._job, pages), self._report(self.total))
        except InterruptedRunError:
            if not isinstance(self.total.failure, ChangedRowsError):
                raise
            self.total.forget_left()
            self.last_number = self.total.last_number or self.last_number
            self.deliver_all()
        else:
            self.awaited.end_round(NO_ROWS, np.empty(0, READ))
            self.last_number = self.total.last_number or self.last_number
        # what is there by now stays: the collector need not look through it after each round
        gc.collect()
        gc.freeze()

    def deliver(self, rows: Rowids) -> None:
        """Give these events to the flow, and then those that waited for what was delivered.

        Raises:
            InterruptedRunError: it did not come to its end.
        """
        while len(rows):
            state = self._new_state()
            source = ListedSource(
                self._job.path,
                state,
                1,
                self._held.connect,
                self._job.options.check_node,
                self._job.options.pages,
                rowids=rows,
            )
            if not self._flow(state, len(rows), source):
                self.deliver_all()
                return
            read = np.concatenate([np.empty(0, READ), *(read_entries(*one) for one in source.read)])
            rows = self._take_in(state, rows, read)

    def deliver_all(self) -> None:
        """Give all undelivered events to the flow, whatever is known of them.

        Raises:
            InterruptedRunError: it did not come to its end.
        """
        for _ in range(TRIES):
            state, before = self._new_state(), self.total.reasons.total()
            self.awaited.clear()
            if self._flow(state, before):
                self.awaited.end_round(NO_ROWS, np.empty(0, READ))
                gone = max(0, before - state.discovered)
                self.total.add_round(state, before, gone, state.reasons)
                return
        raise InterruptedRunError(
            f"Events of `{self._job.path}` change faster than they can be delivered",
            why=f"in `{TRIES}` rounds some were deleted, moved or delivered before they were "
            "written, or the schema changed",
            retry=True,
        )

    def _new_state(self) -> RunState:
        self._round = RunState(measure=self.total.measure, writing=self.total.writing)
        return self._round

    def _flow(self, state: RunState, events: int, source: ListedSource | None = None) -> bool:
        """Run the flow; False: what it read was changed before it could be written."""
        is_done = self._run_flow(state, events, source)
        # a flow leaves 170 KB in cycles, and one that failed the pages that it held
        gc.collect()
        return is_done

    def _run_flow(self, state: RunState, events: int, source: ListedSource | None) -> bool:
        share = NEVER if source else ScanSettings().least_share
        with closing(Scratch(self._job.scratch.parent)) as scratch:
            job = replace(self._job, run_state=state, scratch=scratch)
            settings = LookUpSettings(
                job.options.memory.check, scratch.folder, scan=ScanSettings(share)
            )
            sink = self._sink(job, self._checkpoint_pages, source)
            try:
                report = self._report(state)
                order_into(job, sink, report, events=events, settings=settings, source=source)
            except InterruptedRunError:
                if not isinstance(state.failure, ChangedRowsError):
                    raise
                # whole batches may have been delivered
                state.discovered = state.delivered
                self.total.add_round(state, 0, 0, self.total.reasons)
                return False
            finally:
                self.last_number = state.last_number or self.last_number
        return True

    def _take_in(self, state: RunState, given: Rowids, read: Entries) -> Rowids:
        """Count what a round has done; who can be delivered because of it."""
        again = self.awaited.known(given)
        gone = len(np.setdiff1d(again, read["rowid"], assume_unique=True))
        woken = self.awaited.end_round(given, read)
        is_full = self.awaited.is_full
        left = self.total.reasons + state.reasons if is_full else self.awaited.counts()
        self.total.add_round(state, len(again), gone, left)
        self._round = RunState()
        return woken

    def _report(self, state: RunState) -> ReportSink:
        return ReportSink(None, LEFT, WAITING, state, kept=self)

    def _sink(
        self, job: Job, checkpoint_pages: int, source: ListedSource | None = None
    ) -> DeliveredSink:
        schema = schema_version(self._held.connection)

        def are_there(connection: Connection, rowids: pa.Array) -> bool:
            is_same = schema_version(connection) == schema
            return is_same and (source is None or source.are_there(connection, rowids))

        settings = replace(
            job.options.sink,
            batch_rows=job.plan.batch_rows,
            durable=job.options.durable,
            memory_bytes=job.options.memory.sink,
            spill_folder=job.scratch.folder,
            checkpoint_pages=checkpoint_pages,
        )
        return DeliveredSink(
            job.path,
            job.run_state,
            settings,
            connection=self._held.connection,
            last_number=self.last_number,
            are_there=are_there,
        )


def _with_payloads(left: pa.RecordBatch, roots: PreparedLookUp) -> pa.RecordBatch:
    """The same events; where a payload is missing, its multihash is the cause."""
    is_missing = pc.equal(left["reason"], str(Reason.PAYLOAD_MISSING))
    wanted = root_multihashes(left["cid"].filter(is_missing))
    causes = [pa.array([], pa.binary())]
    for first in range(0, len(wanted), ROOTS_TOGETHER):
        some = wanted.slice(first, ROOTS_TOGETHER)
        found = roots.find(some)
        if not found.num_rows:
            causes.append(pa.nulls(len(some), pa.binary()))
            continue
        payload = payload_multihashes(found["bytes"].combine_chunks())
        causes.append(payload.take(pc.index_in(some, value_set=found["multihash"])))
    cause = pc.replace_with_mask(left["cause"], is_missing, pa.concat_arrays(causes))
    at = LEFT.get_field_index("cause")
    return left.set_column(at, LEFT.field(at), cause)
