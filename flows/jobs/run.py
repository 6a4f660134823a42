"""The main job as a function: order a database in place, or find out what that would do."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.claim import claim
from connectors.database import locate, read_schema, require_whole
from connectors.errors import InterruptedRunError
from connectors.report import ReportSink
from connectors.run_state import Tally
from connectors.sink import BATCH_ROWS, DeliveredSink, DryRunSink
from connectors.snapshot import Reader
from connectors.source import UndeliveredSource
from connectors.sqlite import DATABASE_ERRORS, connect, execute, scalar, sqlite_says, starting
from flows.jobs.runner import batches_kept, finish_by, interrupted, nothing_changed, run_flow
from flows.lookups import LookUps
from flows.order import PARTITIONS, Sink, build_flow
from flows.terminal.progress import shown_progress
from flows.terminal.signals import stopped_by_signals
from operators.decode import payload_multihash
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


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    database: Path
    tally: Tally
    seconds: float
    options: RunOptions

    @property
    def waiting(self) -> int:
        """Events that wait for another event."""
        return sum(count for reason, count in self.tally.reasons.items() if reason in WAITING)

    @property
    def quarantined(self) -> int:
        """Events that were rejected themselves."""
        return self.tally.reasons.total() - self.waiting

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`, a written contract (README, JSON)."""
        tally = self.tally
        return {
            "database": str(self.database),
            "discovered": tally.discovered,
            "delivered": tally.delivered,
            "waiting": self.waiting,
            "quarantined": self.quarantined,
            "reasons": dict(sorted(tally.reasons.items())),
            "inits": tally.inits,
            "first_number": tally.first_number,
            "last_number": tally.last_number,
            "batches": tally.batches,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(tally.delivered / self.seconds) if self.seconds else 0,
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
    tally = Tally(measure=options.measure)
    report = _prepared_report(options, tally)
    with ExitStack() as stack:
        held = claim(path)
        stack.enter_context(stopped_by_signals(finish_by(tally, held.release)))
        stack.callback(held.release)
        # the last connection to close brings the write-ahead log into the database, and only one
        # that may write can do it
        with starting(path):
            last = stack.enter_context(closing(connect(path, "rw")))
            execute(last, f"PRAGMA synchronous={'FULL' if options.durable else 'NORMAL'}")
            read_schema(last, path)
            require_whole(last, path)
        sink = DeliveredSink(path, options.batch_rows, tally, options.durable)
        run_into(
            path, options, tally, sink=sink, report=report, connector=connect, kept=batches_kept
        )
        # the one waits for the disk, the other has to reckon
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as beside:
            taken_in = beside.submit(_take_log_in, last, path, tally)
            _require_all_seen(path, tally)
            taken_in.result()
        with tally.measure("close", 0):
            last.close()
    return Summary(path, tally, time.monotonic() - started, options)


def _take_log_in(connection: Any, path: Path, tally: Tally) -> None:
    """Bring the write-ahead log into the database, and both onto the disk; SQLite would do so at the last close, but tells of no failure.

    Raises:
        InterruptedRunError: the disk does not take it.
    """
    try:
        with tally.measure("checkpoint", 0):
            execute(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    except DATABASE_ERRORS as cause:
        what = f"Taking the write-ahead log into `{path}` failed: {sqlite_says(cause)}."
        keep = f"If `{path.name}-wal` is left beside it, keep it: it is a part of the database."
        raise interrupted(f"{what} {keep}", tally, batches_kept) from cause


def _require_all_seen(path: Path, tally: Tally) -> None:
    """Count without the index on `delivered`, by which the events are found: a damaged one hides some, and SQLite does not notice.

    Raises:
        InterruptedRunError: events are undelivered that the run has not seen.
    """
    try:
        with tally.measure("count", 0), closing(connect(path)) as connection:
            highest = scalar(connection, "SELECT max(rowid) FROM ceramic_one_event") or 0
            if highest > max(SEEN_OF_ALL * tally.discovered, ALWAYS_COUNTED):
                return
            unseen = scalar(connection, COUNT_WITHOUT_INDEX) - tally.reasons.total()
    except DATABASE_ERRORS as cause:
        raise interrupted(
            f"Counting in `{path}` failed: {sqlite_says(cause)}. Check the disk.",
            tally,
            batches_kept,
        ) from cause
    if unseen:
        raise interrupted(
            f"`{unseen}` more events are undelivered in `{path}` than its index on `delivered` shows: the index is damaged. Rebuild it "
            "with `REINDEX ceramic_one_event` in the SQLite shell.",
            tally,
            batches_kept,
        )


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
    tally = Tally(measure=options.measure)
    report = _prepared_report(options, tally, left)
    reader = Reader(path)
    with stopped_by_signals(finish_by(tally, reader.release, nothing_changed)), reader:
        with closing(reader(path)) as connection:
            read_schema(connection, path)
        run_into(path, options, tally, sink=DryRunSink(tally), report=report, connector=reader)
    return Summary(path, tally, time.monotonic() - started, options)


def run_into(
    path: Path,
    options: RunOptions,
    tally: Tally,
    *,
    sink: Sink,
    report: ReportSink,
    connector: Callable[[Path], Any],
    kept: Callable[[Tally], str] = nothing_changed,
) -> None:
    """Run the flow on what `connector` opens, into whatever sink, and publish the report.

    Raises:
        InterruptedRunError: it did not come to its end; the sentence ends with what is `kept`.
    """
    check = options.check_node

    def count() -> int:
        # only for the display: what fails here fails in the flow too, and is told there
        with suppress(*DATABASE_ERRORS), closing(connector(path)) as connection:
            return int(scalar(connection, COUNT_UNDELIVERED))
        return 0

    look_ups = LookUps(path, connector, check_node=check, measure=tally.measure)
    with closing(look_ups), shown_progress(tally, count, quiet=options.quiet):
        source = UndeliveredSource(
            path, options.partitions, payload_multihash, tally, connector, look_ups.offer
        )
        flow = build_flow(source, look_ups, sink, report, shards=options.shards)
        run_flow(flow, tally, workers=options.workers, partitions=options.partitions, kept=kept)
    try:
        report.publish()
    except InterruptedRunError as error:
        raise interrupted(str(error), tally, kept) from error


def _prepared_report(
    options: RunOptions, tally: Tally, kept: list[pa.RecordBatch] | None = None
) -> ReportSink:
    report = ReportSink(options.report, LEFT, WAITING, tally, kept)
    report.prepare()
    return report
