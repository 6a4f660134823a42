"""The main job as a function: order a database in place, or find out what that would do."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.claim import claim
from connectors.database import locate, read_schema, require_whole
from connectors.errors import InterruptedRunError
from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.sink import BATCH_ROWS, DeliveredSink, DryRunSink
from connectors.snapshot import Reader
from connectors.source import PARTITIONS
from connectors.sqlite import (
    CHECK_DISK,
    DATABASE_ERRORS,
    connect,
    execute,
    scalar,
    sqlite_says,
    starting,
)
from flows.inputs import Inputs
from flows.jobs.runner import Kept, batches_kept, finish_by, interrupted, nothing_changed, run_flow
from flows.order import Sink, build_flow
from flows.terminal.progress import shown_progress
from flows.terminal.signals import stopped_by_signals
from operators.order import SHARDS
from operators.schemas import LEFT, WAITING, Measure, unmeasured

COUNT_UNDELIVERED = "SELECT count(*) FROM ceramic_one_event WHERE delivered IS NULL"

COUNT_WITHOUT_INDEX = "SELECT count(*) FROM ceramic_one_event NOT INDEXED WHERE delivered IS NULL"

SEEN_OF_ALL = 10
"""The table is counted after a run that read at least one event in so many: counting takes 0.2
us a row, ordering ten times that."""


ALWAYS_COUNTED = 1_000_000
"""Rows up to which the table is counted in any case; that takes 0.2 s."""


@dataclass(frozen=True)
class RunOptions:
    """How a flow is run; the defaults are those of the command line."""

    partitions: int = PARTITIONS
    workers: int = 1
    shards: int = SHARDS
    batch_rows: int = BATCH_ROWS
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


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    database: Path
    run_state: RunState
    seconds: float
    options: RunOptions

    @property
    def waiting(self) -> int:
        """Events that wait for another event."""
        return sum(count for reason, count in self.run_state.reasons.items() if reason in WAITING)

    @property
    def rejected(self) -> int:
        """Events that were rejected themselves."""
        return self.run_state.reasons.total() - self.waiting

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`, a written contract (flows/cli/README.md)."""
        run_state = self.run_state
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
            "batches": run_state.batches,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(run_state.delivered / self.seconds) if self.seconds else 0,
            "partitions": self.options.partitions,
            "workers": self.options.workers,
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
        held = claim(path)
        stack.enter_context(stopped_by_signals(finish_by(run_state, held.release)))
        stack.callback(held.release)
        # the last connection to close brings the write-ahead log into the database, and only one
        # that may write can do it
        with starting(path):
            last = stack.enter_context(closing(connect(path, "rw")))
            execute(last, f"PRAGMA synchronous={'FULL' if options.durable else 'NORMAL'}")
            read_schema(last, path)
            require_whole(last, path)
        sink = DeliveredSink(path, options.batch_rows, run_state, options.durable)
        run_into(
            path, options, run_state, sink=sink, report=report, connect=connect, kept=batches_kept
        )
        # the one waits for the disk, the other has to reckon
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as beside:
            taken_in = beside.submit(_take_log_in, last, path, run_state)
            _require_all_seen(path, run_state)
            taken_in.result()
        with run_state.measure("close", 0):
            last.close()
    return Summary(path, run_state, time.monotonic() - started, options)


def _take_log_in(connection: Any, path: Path, run_state: RunState) -> None:
    """Bring the write-ahead log into the database, and both onto the disk; SQLite would do so at the last close, but tells of no failure.

    Raises:
        InterruptedRunError: the disk does not take it.
    """
    try:
        with run_state.measure("checkpoint", 0):
            execute(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    except DATABASE_ERRORS as cause:
        error = InterruptedRunError(
            f"Checkpointing `{path}` failed",
            why=sqlite_says(cause),
            advice=f"If `{path.name}-wal` is left beside it, keep it: it is a part of the database.",
        )
        raise interrupted(error, run_state, batches_kept) from cause


def _require_all_seen(path: Path, run_state: RunState) -> None:
    """Count without the index on `delivered`, by which the events are found: a damaged one hides some, and SQLite does not notice.

    Raises:
        InterruptedRunError: events are undelivered that the run has not seen.
    """
    try:
        with run_state.measure("count", 0), closing(connect(path)) as connection:
            highest = scalar(connection, "SELECT max(rowid) FROM ceramic_one_event") or 0
            if highest > max(SEEN_OF_ALL * run_state.discovered, ALWAYS_COUNTED):
                return
            unseen = scalar(connection, COUNT_WITHOUT_INDEX) - run_state.reasons.total()
    except DATABASE_ERRORS as cause:
        error = InterruptedRunError(
            f"Counting in `{path}` failed", why=sqlite_says(cause), advice=CHECK_DISK
        )
        raise interrupted(error, run_state, batches_kept) from cause
    if unseen:
        error = InterruptedRunError(
            f"`{unseen}` more events are undelivered in `{path}` than its index on `delivered` "
            "shows",
            why="the index is damaged",
            advice="Rebuild it with `REINDEX ceramic_one_event` in the SQLite shell.",
        )
        raise interrupted(error, run_state, batches_kept)


def dry_run(
    database: Path, options: RunOptions, left: list[pa.RecordBatch] | None = None
) -> Summary:
    """Find out what `run` would do, writing nothing beside the report; `left` gets what could not be delivered, in schema LEFT.

    Raises:
        CannotStartError: the database can't be read.
        InterruptedRunError: reading failed midway.
    """
    started = time.monotonic()
    path = locate(database)
    run_state = RunState(measure=options.measure)
    report = _prepared_report(options, run_state, left)
    reader = Reader(path)
    with stopped_by_signals(finish_by(run_state, reader.release, nothing_changed)), reader:
        with closing(reader(path)) as connection:
            read_schema(connection, path)
        run_into(
            path, options, run_state, sink=DryRunSink(run_state), report=report, connect=reader
        )
    return Summary(path, run_state, time.monotonic() - started, options)


def run_into(
    path: Path,
    options: RunOptions,
    run_state: RunState,
    *,
    sink: Sink,
    report: ReportSink,
    connect: Callable[[Path], Any],
    kept: Callable[[RunState], Kept] = nothing_changed,
) -> None:
    """Run the flow on what `connect` opens, into whatever sink, and publish the report.

    Raises:
        InterruptedRunError: it did not come to its end; the sentence ends with what is `kept`.
    """

    def count() -> int:
        # only for the display: what fails here fails in the flow too, and is told there
        with suppress(*DATABASE_ERRORS), closing(connect(path)) as connection:
            return int(scalar(connection, COUNT_UNDELIVERED))
        return 0

    inputs = Inputs(
        path,
        run_state,
        connect=connect,
        partitions=options.partitions,
        check_node=options.check_node,
    )
    progress = shown_progress(run_state, count, quiet=options.quiet)
    with closing(inputs), options.watch(run_state), progress:
        flow = build_flow(inputs, sink, report, shards=options.shards)
        run_flow(flow, run_state, workers=options.workers, partitions=options.partitions, kept=kept)
    try:
        report.publish()
    except InterruptedRunError as error:
        raise interrupted(error, run_state, kept) from error


def _prepared_report(
    options: RunOptions, run_state: RunState, kept: list[pa.RecordBatch] | None = None
) -> ReportSink:
    report = ReportSink(options.report, LEFT, WAITING, run_state, kept)
    report.prepare()
    return report
