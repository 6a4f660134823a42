"""Replay a snapshot into the Parquet files of a log."""

import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pyarrow as pa

from connectors.database import locate
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.log import LogSink, group_rows
from connectors.log_folder import LogFolder
from connectors.numbers import highest_number
from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.schema import read_schema
from connectors.scratch import PREFIX, Scratch
from connectors.snapshot import Reader
from connectors.sqlite import scalar, starting
from flows.allocator import use_memory_again
from flows.amounts import MEGABYTE
from flows.jobs.job import Job, planned, run_into
from flows.jobs.options import RunOptions
from flows.jobs.replay_result import Replay
from flows.jobs.run_result import RunResult
from flows.jobs.runner import finish_by, nothing_changed
from flows.jobs.versions import versions
from flows.machine import memory_there_is
from flows.report.counts import log_facts
from flows.report.digest import order_digest
from flows.terminal.console import print_message, print_removed
from flows.terminal.progress import shown_progress
from flows.terminal.signals import stopped_by_signals
from flows.verify.memory import least_limit
from flows.verify.verification import Verification
from flows.verify.verify import events_at_most, verify
from operators.schemas import KINDS, LEFT, WAITING


def replay(
    snapshot: Path,
    out: Path,
    options: RunOptions,
    *,
    overwrite: bool = False,
    counted: bool = False,
    verified: bool = False,
) -> Replay:
    """Replay `snapshot` into the folder `out`; nothing else is changed.

    The log has its own report, whatever `options.report` says.

    `verified`: the log is verified before it is published; it is published whatever is found.
    `counted`: what is in the log is counted for a page.

    Raises:
        CannotStartError: the snapshot can't be read or is in use, or `out` can't be written to or
            holds a log; nothing was changed.
        InterruptedRunError: reading or writing failed midway, or the snapshot was changed
            meanwhile; there is no new log.
    """
    use_memory_again()
    replaying = Replaying(snapshot, out, options, overwrite=overwrite)
    with stopped_by_signals(finish_by(replaying.run_state, replaying.abandon, replaying.kept)):
        try:
            sink, report = replaying.begin(verified=verified)
            run_into(replaying.job(), sink, report)
            return replaying.complete(sink, counted=counted, verified=verified)
        except Exception:
            # what can't be read was most often changed by another program
            replaying.reader.require_unchanged()
            replaying.require_folder()
            raise
        finally:
            replaying.abandon()


class Replaying:
    """One replay, from the checks before it to its published log."""

    def __init__(self, snapshot: Path, out: Path, options: RunOptions, *, overwrite: bool) -> None:
        self.path = locate(snapshot)
        self.run_state = RunState()
        self._started = time.monotonic()
        self._options = options
        if out.resolve() == self.path.parent:
            raise CannotStartError(
                f"`{out}` is the folder of the snapshot itself, which a replay leaves as it is",
                advice="Name another folder.",
            )
        self.reader = Reader(self.path, static=True)
        self._log = LogFolder(out, overwrite=overwrite)
        if not options.quiet:
            print_removed(self._log.removed)

    def begin(self, *, verified: bool = False) -> tuple[LogSink, ReportSink]:
        """Make the private copy, if one is needed, and read what the snapshot is.

        Returns:
            The sinks of the flow.
        """
        if self.reader.journals and not self._options.quiet:
            journals = " and ".join(f"`{name}`" for name in self.reader.journals)
            print_message(
                f"Next to the snapshot lies {journals} with changes that are not in it yet, so "
                "this works on a private copy of both.",
            )
        self.reader.__enter__()
        with closing(self.reader(self.path)) as connection:
            self._schema = read_schema(connection, self.path)
            self._sqlite = scalar(connection, "SELECT sqlite_version()")
            first_number = highest_number(connection, self.path) + 1
        if verified:
            with starting(self.path):
                events = events_at_most(self.reader.file)
            _require_memory_to_verify(events)
        self._scratch = Scratch(self._log.partial)
        self._plan = planned(self.path, self._options, self.reader, self._scratch, writes=False)
        report = ReportSink(
            self._log.partial, LEFT, WAITING, self.run_state, named=self._log.folder
        )
        return LogSink(
            self._log.partial,
            KINDS,
            first_number,
            self._options.batch_rows or group_rows(self._options.memory.sink),
            self.run_state,
        ), report

    def require_folder(self) -> None:
        """Check that the folder is still there in which the log is made.

        Without it anything fails, and mostly with other words.

        Raises:
            InterruptedRunError: somebody has removed it.
        """
        if not self._log.partial.exists():
            raise InterruptedRunError(
                f"The folder `{self._log.partial}` was removed while the log was made in it",
                unchanged="No part of a new log was left there, and the snapshot is unchanged.",
                advice=f"Let nothing clean up folders `{PREFIX}*` while a command is at work.",
                retry=True,
            )

    def job(self) -> Job:
        """The flow that is to be run."""
        return Job(self.path, self._options, self.run_state, self.reader, self._scratch, self._plan)

    def complete(self, sink: LogSink, *, counted: bool = False, verified: bool = False) -> Replay:
        """Publish the log."""
        files, memory = sink.finish(), self._options.memory.afterwards
        # what the flow has freed belongs to DuckDB now
        pa.default_memory_pool().release_unused()
        with tempfile.TemporaryDirectory(prefix="spill-", dir=self._log.partial) as spill:
            digest = order_digest(self._log.partial, Path(spill), memory)
            log = log_facts(self._log.partial, Path(spill), memory) if counted else None
        result = RunResult(
            self.path, self.run_state, time.monotonic() - self._started, self._options, self._plan
        )
        with shown_progress(self.run_state, quiet=self._options.quiet):
            verification = self._verify() if verified else None
        replayed = Replay(
            run=result,
            size=self.path.stat().st_size,
            schema=self._schema,
            journals=self.reader.journals,
            files=files,
            digest=digest,
            verification=verification,
            log=log,
            versions=versions(self._sqlite),
        )
        self.reader.require_unchanged()
        self._log.publish(replayed.to_json(), self.run_state)
        return replayed

    def _verify(self) -> Verification:
        file, log = self.reader.file, self._log.partial
        memory = max(self._options.memory.afterwards, least_limit(events_at_most(file)))
        check = partial(
            verify,
            file,
            log=log,
            is_log_published=False,
            memory_limit=f"{memory / MEGABYTE:.0f}MB",
            on_progress=self.run_state.reach,
        )
        found = check()
        if found.is_good:
            return found
        # only a baseline separates old damage from new, but it takes half as long again
        return check(baseline=file)

    def kept(self, run_state: RunState) -> str:
        """What a replay leaves that stopped midway."""
        return self._log.left_whole if self._log.is_moving else nothing_changed(run_state)

    def abandon(self) -> None:
        """Remove what is not published; safe to call twice, and from another thread."""
        self._log.abandon()
        self.reader.release()


def _require_memory_to_verify(events: int) -> None:
    """Check that there is memory for what verifies the log, when all other work is done.

    Raises:
        CannotStartError: there is too little.
    """
    least, whole = least_limit(events), memory_there_is()
    if whole < least:
        raise CannotStartError(
            f"This process has `{whole // MEGABYTE}MB` of memory, which is too little to verify a "
            "log",
            advice=f"Give it at least `{-(-least // MEGABYTE)}MB`, or use `--no-verify`.",
        )
