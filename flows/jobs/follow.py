"""Follow: run, and then deliver what other programs insert, until a signal ends it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectors.claim import Claim, MovedError, claim
from connectors.database import locate
from connectors.errors import InterruptedRunError
from connectors.news import News
from connectors.numbers import highest_number
from connectors.run_state import RunState
from connectors.sink import other_numbers
from connectors.sqlite import execute, sqlite_errors
from flows.allocator import give_back_large_pieces
from flows.jobs.completeness import checkpoint
from flows.jobs.ending import outcome
from flows.jobs.job import Job, planned, scratch_of_run, show_plan
from flows.jobs.options import RunOptions
from flows.jobs.rounds import NO_ROWS, Rounds
from flows.jobs.run import in_place
from flows.jobs.run_result import RunResult
from flows.jobs.runner import Kept, batches_kept, finish_by, interrupted
from flows.terminal.console import print_event
from flows.terminal.notify import notify
from flows.terminal.signals import stop_event, stopped_by_signals
from operators.awaited import Rowids
from operators.encoding.columns import hashes


@dataclass(frozen=True)
class FollowSettings:
    """How often a database is looked at, and how long others are waited for."""

    interval: float = 1.0
    """Seconds between two looks at whether anything has been committed."""
    busy_seconds: float = 60.0
    """Seconds for which a transaction of another program is waited for."""
    scan_share: float = 0.05
    """Of a core, for comparing the undelivered rows with those that are known, which takes 0.3 s
    for a million."""
    again_share: float = 0.01
    """Of a core, for checking again what was left: a row may have been changed in place."""
    again_rows: int = 4096
    """Events that are checked again in one round."""
    whole_share: float = 0.2
    """Of a core, for checking all of them at once where there are too many to be kept."""
    line_seconds: float = 60.0
    """Seconds between two lines about what was delivered."""
    checkpoint_pages: int = 1000
    """A commit checkpoints a WAL of so many pages, 4 MB, as those of other programs do."""
    kept_wal_bytes: int = 64_000_000
    """A WAL of so many bytes was kept from checkpoints: the line then says so, and its size."""


class _Share:
    """Work that may take a share of one core."""

    def __init__(self, share: float, *, is_owed: bool) -> None:
        self._share = share
        self._free_at = 0.0
        self.is_owed = is_owed

    def is_due(self) -> bool:
        """Whether it is owed and may be done."""
        return self.is_owed and time.monotonic() >= self._free_at

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Count what the block takes of the processor; it does the work."""
        started = time.process_time()
        self.is_owed = False
        yield
        self._free_at = time.monotonic() + (time.process_time() - started) / self._share


def follow(
    database: Path,
    options: RunOptions,
    settings: FollowSettings = FollowSettings(),  # frozen
) -> RunResult:
    """Order the undelivered events of `database` in place, then what comes, until a signal.

    Raises:
        CannotStartError: the database can't be used; nothing was changed.
        InterruptedRunError: it stopped otherwise; whole batches are kept.
    """
    started = time.monotonic()
    give_back_large_pieces()
    path = locate(database, writable=True)
    run_state = RunState(measure=options.measure)
    rounds: Rounds | None = None

    def kept(_: RunState) -> str:
        return rounds.kept() if rounds else batches_kept(run_state)

    with ExitStack() as stack:
        held = claim(path, options.claim, with_others=True)
        stack.enter_context(stopped_by_signals(finish_by(run_state, held.release, kept)))
        stack.enter_context(held)
        execute(held.connection, f"PRAGMA busy_timeout={int(settings.busy_seconds * 1000)}")
        scratch = stack.enter_context(closing(scratch_of_run(path, options)))
        plan = planned(path, options, held.connect, scratch)
        show_plan(plan, options)
        held.begin()
        job = Job(path, options, run_state, held.connect, scratch, plan, kept)
        rounds = stack.enter_context(closing(Rounds(job, held, settings.checkpoint_pages)))
        with in_place(held, run_state, kept), _saying_what_is_kept(run_state, kept):
            following = _Following(job, held, rounds, settings)
            rounds.run()
            checkpoint(held.connection, path, run_state)
            with stop_event() as wanted:
                following.say_ready()
                while not wanted.wait(settings.interval):
                    following.look()
            notify("STOPPING=1")
            run_state.wal_bytes = checkpoint(held.connection, path, run_state)
    seconds = time.monotonic() - started
    return RunResult(path, run_state, seconds, options, plan, interval=settings.interval)


@contextmanager
def _saying_what_is_kept(run_state: RunState, kept: Kept) -> Iterator[None]:
    try:
        yield
    except InterruptedRunError as error:
        if error.unchanged is not None or isinstance(error, MovedError):
            raise
        raise interrupted(error, run_state, kept) from error


class _Following:
    """Finds out what has come to a database, and what must be read because of it."""

    def __init__(self, job: Job, held: Claim, rounds: Rounds, settings: FollowSettings) -> None:
        """Whatever comes from now on is seen, also during the run."""
        self._job, self._held, self._rounds, self._settings = job, held, rounds, settings
        with sqlite_errors(f"Reading `{job.path}` failed"):
            self._news = News(held.connection)
        self._scan = _Share(settings.scan_share, is_owed=True)
        self._again = _Share(settings.again_share, is_owed=False)
        self._whole = _Share(settings.whole_share, is_owed=True)
        self._checked_to = 0
        """The rowid up to which events were checked again."""
        self._has_changed = False
        """Whether anything has changed since the first of them was checked."""
        self._said = (0, 0, 0)
        """Events delivered, left, and bytes kept in the WAL when a line was printed last."""
        self._said_at = time.monotonic()

    def look(self) -> None:
        """Look for what has come, and deliver what can be.

        Raises:
            InterruptedRunError: somebody else gives numbers, or reading or writing failed.
        """
        self._held.require_in_place()
        with sqlite_errors(f"Reading `{self._job.path}` failed"):
            has_come = self._news.has_come()
            rows = self._rows_to_read() if has_come else NO_ROWS
            is_rebuilt = has_come and self._news.is_rebuilt()
            if is_rebuilt:
                self._news = News(self._held.connection)
        if is_rebuilt:
            # what is known of rows is no longer valid
            self._rounds.deliver_all()
            return
        if has_come:
            self._scan.is_owed = self._again.is_owed = self._whole.is_owed = True
            self._has_changed = True
        self._rounds.deliver(rows)
        self._look_further()
        self._say_what_was_delivered()

    def _rows_to_read(self) -> Rowids:
        """Those that are new, and those that were rejected for blocks that are."""
        path, last, awaited = self._job.path, self._rounds.last_number, self._rounds.awaited
        highest = highest_number(self._held.connection, path, InterruptedRunError)
        if highest != last:
            raise other_numbers(path, highest, last)
        rows = [self._unknown(self._news.events())]
        if awaited.has_rejected():
            rows += [awaited.rejected(hashes(keys)) for keys in self._news.blocks()]
        else:
            self._news.skip_blocks()
        return np.unique(np.concatenate(rows))

    def _unknown(self, rows: Rowids) -> Rowids:
        """Those of these undelivered rows that were never read."""
        known = self._rounds.awaited.known(rows)
        new = np.setdiff1d(rows, known, assume_unique=True)
        self._rounds.total.add_found(len(new))
        return new

    def _look_further(self) -> None:
        """Do one of the things that take long, if it is due."""
        rounds = self._rounds
        if rounds.awaited.is_full:
            if self._whole.is_due():
                with self._whole.taken():
                    rounds.deliver_all()
        elif self._scan.is_due():
            with self._scan.taken(), sqlite_errors(f"Reading `{self._job.path}` failed"):
                rows = rounds.awaited.differences(self._news.undelivered())
            self._unknown(rows)
            rounds.deliver(rows)
        elif self._again.is_due():
            with self._again.taken():
                rows = rounds.awaited.after(self._checked_to, self._settings.again_rows)
                rounds.deliver(rows)
            self._checked_to = int(rows[-1]) if len(rows) else 0
            # until all of them have been checked since the last change
            self._again.is_owed = bool(len(rows)) or self._has_changed
            self._has_changed &= bool(len(rows))

    def say_ready(self) -> None:
        """Say that the run is done and following starts."""
        self._held.require_in_place()
        notify("READY=1")
        state = self._rounds.total
        text = f"{outcome(state)}. Ready: following `{self._job.path}`, until a signal ends it."
        self._say("ready", text)

    def _say_what_was_delivered(self) -> None:
        if time.monotonic() < self._said_at + self._settings.line_seconds:
            return
        state, path = self._rounds.total, self._job.path
        wal = path.with_name(f"{path.name}-wal")
        if state.wal_bytes or wal.stat().st_size > self._settings.kept_wal_bytes:
            state.wal_bytes = checkpoint(self._held.connection, path, state)
        if self._said != self._saying():
            self._say("following", f"{outcome(state)}.")
        self._said_at = time.monotonic()

    def _say(self, event: str, text: str) -> None:
        self._said = delivered, left, wal_bytes = self._saying()
        if not self._job.options.quiet:
            fields = {"delivered": delivered, "left": left, "wal_bytes": wal_bytes}
            print_event(event, text, fields)

    def _saying(self) -> tuple[int, int, int]:
        state = self._rounds.total
        return state.delivered, state.reasons.total(), state.wal_bytes
