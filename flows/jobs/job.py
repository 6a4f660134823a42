"""One flow on one database: its plan, what it reads, and where it ends."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from connectors.errors import InterruptedRunError
from connectors.report import ReportSink
from connectors.run_state import READING, RunState
from connectors.scratch import Scratch, scratch_parent
from connectors.source import UndeliveredSource
from connectors.sqlite import Connection, starting
from flows.inputs import Inputs
from flows.jobs.options import RunOptions
from flows.jobs.plan import Plan, make_plan
from flows.jobs.runner import Kept, interrupted, nothing_changed, run_flow
from flows.lookups import LookUpSettings
from flows.order import Sink, build_flow
from flows.terminal.console import print_message, print_removed
from flows.terminal.progress import shown_progress
from operators.schemas import LEFT, WAITING
from operators.spill import SpillSettings

PLAN_SHOWN = 100_000
"""The plan is shown from so many undelivered events on: fewer take about a second."""


@dataclass(frozen=True)
class Job:
    """A flow that is to be run on a database."""

    path: Path
    options: RunOptions
    run_state: RunState
    connect: Callable[[Path], Connection]
    scratch: Scratch
    """The folder for what does not fit in memory; the caller closes it."""
    plan: Plan
    kept: Kept = nothing_changed
    """Says what is kept if the flow stops midway."""


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


def scratch_of_run(path: Path, options: RunOptions) -> Scratch:
    """The folder for what does not fit in memory; what killed runs have left there is removed."""
    scratch = Scratch(scratch_parent(path))
    removed = scratch.remove_leftovers()
    if not options.quiet:
        print_removed(removed)
    return scratch


def show_plan(plan: Plan, options: RunOptions) -> None:
    """Print the plan before the work, if that is long enough to be worth a line."""
    if plan.undelivered >= PLAN_SHOWN and not options.quiet:
        print_message(f"{plan}.")


def run_into(job: Job, sink: Sink, report: ReportSink) -> None:
    """Run the flow into this sink, and publish the report.

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
    """Run the flow on about `events` events: those of `source`, or all that are undelivered.

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


def prepared_report(
    options: RunOptions, run_state: RunState, kept: list[pa.RecordBatch] | None = None
) -> ReportSink:
    """The sink for what is left, with the folder of the report made; `kept` gets it in memory."""
    report = ReportSink(options.report, LEFT, WAITING, run_state, kept)
    report.prepare()
    return report
