"""The main job as a function: order a database in place, or find out what that would do."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from connectors.claim import Claim, MovedError, WalGoneError, claim
from connectors.database import locate
from connectors.errors import InterruptedRunError
from connectors.run_state import CHECKPOINT, RunState
from connectors.scratch import Scratch
from connectors.sink import DeliveredSink, DryRunSink
from connectors.snapshot import Reader
from connectors.sqlite import execute
from flows.allocator import use_memory_again
from flows.jobs.completeness import checkpoint, require_all_seen
from flows.jobs.job import Job, planned, prepared_report, run_into, scratch_of_run, show_plan
from flows.jobs.options import RunOptions
from flows.jobs.run_result import RunResult
from flows.jobs.runner import Kept, batches_kept, finish_by, interrupted, nothing_changed
from flows.terminal.progress import shown_progress
from flows.terminal.signals import stopped_by_signals


def run(database: Path, options: RunOptions) -> RunResult:
    """Order the undelivered events of `database` in place.

    Raises:
        CannotStartError: the database can't be used; nothing was changed.
        InterruptedRunError: the run stopped midway; whole batches are kept.
    """
    started = time.monotonic()
    use_memory_again()
    path = locate(database, writable=True)
    run_state = RunState(measure=options.measure)
    report = prepared_report(options, run_state)
    with ExitStack() as stack:
        stack.callback(report.abandon)
        held = claim(path, options.claim)
        stack.enter_context(stopped_by_signals(finish_by(run_state, held.release)))
        stack.enter_context(held)
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
        held.begin()
        with in_place(held, run_state):
            run_into(
                job,
                DeliveredSink(path, run_state, settings, descriptor=held.descriptor),
                report,
            )
            # at the same time: one waits for the disk, the other for the processor
            run_state.start_phase(CHECKPOINT)
            with (
                shown_progress(run_state, quiet=options.quiet),
                ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as writer,
            ):
                checkpointed = writer.submit(checkpoint, held.connection, path, run_state)
                require_all_seen(held, run_state)
                run_state.wal_bytes = checkpointed.result()
        with run_state.measure("close", 0):
            held.close()
    return RunResult(path, run_state, time.monotonic() - started, options, plan)


@contextmanager
def in_place(held: Claim, run_state: RunState, kept: Kept = batches_kept) -> Iterator[None]:
    """Raise the error for a renamed, deleted or replaced database, whatever else that led to.

    Or for such a WAL: what it holds is brought into the database if that can be done.
    """
    try:
        try:
            yield
        except InterruptedRunError:
            held.require_in_place()
            raise
        held.require_in_place()
    except MovedError as error:
        raise interrupted(error, run_state, kept) from error
    except WalGoneError as error:
        if not held.rescue():
            raise
        saved = error.replaced(advice="What it held is in the database.", retry=True)
        raise interrupted(saved, run_state, kept) from error


def dry_run(
    database: Path, options: RunOptions, left: list[pa.RecordBatch] | None = None
) -> RunResult:
    """Find out what `run` would do, and write nothing but the report.

    `left` gets what could not be delivered, in schema LEFT.

    Raises:
        CannotStartError: the database can't be read.
        InterruptedRunError: reading failed midway.
    """
    started = time.monotonic()
    use_memory_again()
    path = locate(database)
    run_state = RunState(measure=options.measure)
    report = prepared_report(options, run_state, left)
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
    return RunResult(path, run_state, time.monotonic() - started, options, plan, is_dry=True)
