"""The main job as a function: order a database in place, or find out what that would do."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from connectors.claim import Claim, ClaimSettings, MovedError, claim
from connectors.database import locate
from connectors.errors import InterruptedRunError
from connectors.page_sizes import PageSizes
from connectors.report import ReportSink
from connectors.run_state import CHECKPOINT, READING, RunState
from connectors.scratch import Scratch, scratch_parent
from connectors.sink import DeliveredSink, DryRunSink, SinkSettings
from connectors.snapshot import Reader
from connectors.source import PARTITIONS, UndeliveredSource
from connectors.sqlite import (
    Connection,
    execute,
    starting,
)
from flows.inputs import Inputs
from flows.jobs.completeness import checkpoint, require_all_seen
from flows.jobs.plan import Plan, PlanSettings, make_plan
from flows.jobs.runner import Kept, batches_kept, finish_by, interrupted, nothing_changed, run_flow
from flows.lookups import LookUpSettings
from flows.memory import Memory, default_limit, share_out
from flows.order import Sink, build_flow
from flows.terminal.console import print_message, print_removed
from flows.terminal.progress import shown_progress
from flows.terminal.signals import stopped_by_signals
from operators.order import OrderSettings
from operators.schemas import LEFT, WAITING, Measure, unmeasured
from operators.spill import SpillSettings

PLAN_SHOWN = 100_000
"""Undelivered events from which on the plan is shown: fewer take about a second."""


@dataclass(frozen=True)
class RunOptions:
    """How a flow is run; the defaults are those of the command line."""

    partitions: int = PARTITIONS
    batch_rows: int | None = None
    """Events of one transaction, or of one row group of a log, at most; None: the default."""
    memory_limit: int | None = None
    """Bytes of memory; None: the default of `flows.memory`."""
    check_node: bool = True
    """Deliver only what a node could serve; else whatever has readable links."""
    durable: bool = False
    """Sync the disk at every commit."""
    report: Path | None = None
    measure: Measure = unmeasured
    """Measures where the time goes, as `flows.report.profile.Profile` does."""
    quiet: bool = True
    watch: Callable[[RunState], AbstractContextManager[object]] = nullcontext
    """Looks on while the flow runs, as `flows.report.throughput.sampled` does."""
    claim: ClaimSettings = field(default_factory=ClaimSettings)
    pages: PageSizes = field(default_factory=PageSizes)
    order: OrderSettings = field(default_factory=OrderSettings)
    sink: SinkSettings = field(default_factory=SinkSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)

    shares: Memory | None = None
    """How the memory is shared out; None: by the limit."""

    @cached_property
    def memory(self) -> Memory:
        """What each part of the run may take."""
        return self.shares or share_out(self.memory_limit or default_limit())


@dataclass(frozen=True)
class Job:
    """A flow that is to be run on a database."""

    path: Path
    options: RunOptions
    run_state: RunState
    connect: Callable[[Path], Connection]
    scratch: Scratch
    """For what does not fit in memory; the caller's to close."""
    plan: Plan
    kept: Kept = nothing_changed
    """What is left if it stops midway."""


def planned(
    path: Path,
    options: RunOptions,
    connect: Callable[[Path], Connection],
    scratch: Scratch,
    *,
    writes: bool = True,
    must_end: bool = True,
) -> Plan:
    """The plan of a run on what `connect` opens; `make_plan` says what the rest means.

    Raises:
        CannotStartError: the database can't be read, or there is too little memory or disk.
    """
    source = UndeliveredSource(
        path, RunState(), 1, connect, event_blocks=options.check_node, sizes=options.pages
    )
    with starting(path), closing(connect(path)) as connection:
        return make_plan(
            connection,
            source,
            options.memory,
            scratch.parent,
            batch_rows=options.batch_rows,
            writes=writes,
            must_end=must_end,
            settings=options.plan,
        )


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    database: Path
    run_state: RunState
    seconds: float
    options: RunOptions
    plan: Plan

    is_dry: bool = False
    interval: float | None = None
    """Seconds between two looks of a run that followed; None: it did not."""

    @property
    def waiting_reasons(self) -> dict[str, int]:
        """Events that wait for another event, by reason."""
        return {name: n for name, n in sorted(self.run_state.reasons.items()) if name in WAITING}

    @property
    def rejected_reasons(self) -> dict[str, int]:
        """Events that were rejected themselves, by reason."""
        reasons = sorted(self.run_state.reasons.items())
        return {name: n for name, n in reasons if name not in WAITING}

    @property
    def waiting(self) -> int:
        """Events that wait for another event."""
        return sum(self.waiting_reasons.values())

    @property
    def rejected(self) -> int:
        """Events that were rejected themselves."""
        return sum(self.rejected_reasons.values())

    @property
    def events_per_second(self) -> int:
        """Delivered events in a second of the whole run."""
        return round(self.run_state.delivered / self.seconds) if self.seconds else 0

    def to_json(self) -> dict[str, object]:
        """The document of `--json`, a written contract (flows/cli/README.md)."""
        run_state, options = self.run_state, self.options
        batches = {} if self.is_dry else {"batches": run_state.batches}
        return {
            "database": str(self.database),
            "discovered": run_state.discovered,
            "delivered": run_state.delivered,
            "waiting": self.waiting,
            "rejected": self.rejected,
            "reasons": dict(sorted(run_state.reasons.items())),
            "inits": run_state.inits,
            "first_number": run_state.first_number,
            "last_number": run_state.last_number,
            **batches,
            "seconds": round(self.seconds, 3),
            "events_per_second": self.events_per_second,
            "dry_run": self.is_dry,
            "follow": None
            if self.interval is None
            else {"interval": self.interval, "gone": run_state.gone},
            "check": "node" if options.check_node else "links",
            "partitions": options.partitions,
            "batch_rows": options.batch_rows,
            "memory_limit": options.memory.limit,
            "durable": options.durable,
            "wal_bytes": run_state.wal_bytes,
            "wrong_notes": len(run_state.wrong_notes),
            "plan": self.plan.to_json(),
        }


def run(database: Path, options: RunOptions) -> Summary:
    """Order the undelivered events of `database` in place.

    Raises:
        CannotStartError: the database can't be used; nothing was changed.
        InterruptedRunError: the run stopped midway; whole batches are kept.
    """
    started = time.monotonic()
    path = locate(database, writable=True)
    run_state = RunState(measure=options.measure)
    report = _prepared_report(options, run_state)
    with ExitStack() as stack:
        stack.callback(report.abandon)
        held = claim(path, options.claim)
        stack.enter_context(stopped_by_signals(finish_by(run_state, held.release)))
        stack.callback(held.close)
        execute(held.connection, f"PRAGMA synchronous={'FULL' if options.durable else 'NORMAL'}")
        scratch = stack.enter_context(closing(scratch_of_run(path, options)))
        plan = planned(path, options, held.connect, scratch)
        settings = replace(
            options.sink,
            batch_rows=plan.batch_rows,
            durable=options.durable,
            memory_bytes=options.memory.sink,
            spill_folder=scratch.folder,
        )
        job = Job(path, options, run_state, held.connect, scratch, plan, batches_kept)
        show_plan(plan, options)
        with in_place(held, run_state):
            run_into(job, DeliveredSink(path, run_state, settings), report)
            # one waits for the disk, the other for the processor
            run_state.start_phase(CHECKPOINT)
            with (
                shown_progress(run_state, quiet=options.quiet),
                ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as beside,
            ):
                checkpointed = beside.submit(checkpoint, held.connection, path, run_state)
                require_all_seen(held, run_state)
                run_state.wal_bytes = checkpointed.result()
        with run_state.measure("close", 0):
            held.close()
    return Summary(path, run_state, time.monotonic() - started, options, plan)


@contextmanager
def in_place(held: Claim, run_state: RunState, kept: Kept = batches_kept) -> Iterator[None]:
    """Tell that the database was renamed, deleted or replaced, whatever else that led to."""
    try:
        try:
            yield
        except InterruptedRunError:
            held.require_in_place()
            raise
        held.require_in_place()
    except MovedError as error:
        raise interrupted(error, run_state, kept) from error


def scratch_of_run(path: Path, options: RunOptions) -> Scratch:
    """The folder for what does not fit in memory; what killed runs have left there is removed."""
    scratch = Scratch(scratch_parent(path))
    removed = scratch.remove_leftovers()
    if not options.quiet:
        print_removed(removed)
    return scratch


def show_plan(plan: Plan, options: RunOptions) -> None:
    """Say before the work what it takes, where that is worth a line."""
    if plan.undelivered >= PLAN_SHOWN and not options.quiet:
        print_message(f"{plan}.")


def dry_run(
    database: Path, options: RunOptions, left: list[pa.RecordBatch] | None = None
) -> Summary:
    """Find out what `run` would do, and write nothing but the report.

    `left` gets what could not be delivered, in schema LEFT.

    Raises:
        CannotStartError: the database can't be read.
        InterruptedRunError: reading failed midway.
    """
    started = time.monotonic()
    path = locate(database)
    run_state = RunState(measure=options.measure)
    report = _prepared_report(options, run_state, left)
    with ExitStack() as stack:
        stack.callback(report.abandon)
        reader = Reader(path)
        stack.enter_context(
            stopped_by_signals(finish_by(run_state, reader.release, nothing_changed))
        )
        stack.enter_context(reader)
        with closing(reader(path)) as connection:
            reader.require_orderable(connection)
        with closing(Scratch()) as scratch:
            plan = planned(path, options, reader, scratch, must_end=False)
            show_plan(plan, options)
            job = Job(path, options, run_state, reader, scratch, plan)
            run_into(job, DryRunSink(run_state), report)
    return Summary(path, run_state, time.monotonic() - started, options, plan, is_dry=True)


def run_into(job: Job, sink: Sink, report: ReportSink) -> None:
    """Run the flow into whatever sink, and publish the report.

    Raises:
        InterruptedRunError: it did not come to its end; its parts say what is kept.
    """
    options, run_state, events = job.options, job.run_state, job.plan.undelivered
    run_state.start_phase(READING, events)
    run_state.add_found(events)
    progress = shown_progress(run_state, quiet=options.quiet)
    with options.watch(run_state), progress:
        settings = LookUpSettings(options.memory.check, job.scratch.folder)
        order_into(job, sink, report, events=events, settings=settings)
    try:
        report.publish()
    except InterruptedRunError as error:
        raise interrupted(error, run_state, job.kept) from error


def order_into(
    job: Job,
    sink: Sink,
    report: ReportSink,
    *,
    events: int,
    settings: LookUpSettings,
    source: UndeliveredSource | None = None,
) -> None:
    """Run the flow on about so many events, those of `source` or all that are undelivered.

    Raises:
        InterruptedRunError: as `run_into`.
    """
    options, run_state, memory = job.options, job.run_state, job.options.memory
    partitions = source.partitions if source else options.partitions
    inputs = Inputs(
        job.path,
        run_state,
        connect=job.connect,
        partitions=partitions,
        check_node=options.check_node,
        settings=settings,
        sizes=options.pages,
        source=source,
    )
    spill = SpillSettings(job.scratch.folder, memory.shard, memory.partitions(events))
    with closing(inputs):
        flow = build_flow(inputs, sink, report, spill=spill, settings=options.order)
        run_flow(flow, run_state, partitions=partitions, kept=job.kept)


def _prepared_report(
    options: RunOptions, run_state: RunState, kept: list[pa.RecordBatch] | None = None
) -> ReportSink:
    report = ReportSink(options.report, LEFT, WAITING, run_state, kept)
    report.prepare()
    return report
