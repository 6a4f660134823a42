"""The sink: writes the delivered order into the database, one transaction a batch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.errors import InterruptedRunError
from connectors.numbers import highest_number
from connectors.read_ahead import EventPages, read_ahead
from connectors.run_state import RunState
from connectors.sorted_runs import Integers, RunFiles, SortedRun, numbered, sorted_run
from connectors.sqlite import (
    DATABASE_ERRORS,
    Connection,
    SqliteError,
    connect,
    execute,
    sqlite_errors,
)
from operators.schemas import UNSIGNED_INIT

SET_DELIVERED = "UPDATE ceramic_one_event SET delivered = ? WHERE rowid = ? AND delivered IS NULL"


class ChangedRowsError(InterruptedRunError):
    """Events were deleted or delivered between being read and being written."""


@dataclass(frozen=True)
class SinkSettings:
    """When the sink writes, and what it holds until then."""

    batch_rows: int | None = None
    """The most events of one transaction; None: rows in random order are written in one."""
    durable: bool = False
    """Sync the disk at every commit (`synchronous=FULL`), not only at a checkpoint (NORMAL)."""
    run_rows: int = 1_000_000
    """Events that are sorted by rowid together while they wait: 16 MB."""
    memory_bytes: int = 256 * 1024 * 1024
    """What sorted events may take in memory; more go to files."""
    spill_folder: Callable[[], Path] | None = None
    """Makes the folder for these files; None: all stay in memory."""
    dense_rows: int = 50_000
    """A batch of so many events is written at once, while the flow goes on, if its rows lie
    close together: it shares few pages with later ones."""
    dense_share: float = 0.7
    """A batch is dense if it holds at least this share of the rows in its range: a later batch then
    brings few rows of the same pages."""
    checkpoint_pages: int = 65_536
    """SQLite checkpoints a WAL of so many pages after a commit: 256 MB; 0: never before the end."""
    cache_kib: int = 16_384
    """KiB of SQLite's page cache, for pages that a transaction has changed. By level and rowid more
    does not help; with the usual 2 MB the index on `delivered` took 1.3 times as long."""


@dataclass(frozen=True)
class DeliveredSink(FixedPartitionedSink[pa.RecordBatch, int]):
    """Gives events the next numbers: by their levels, and by rowid within a level.

    One partition, because there is one counter. A batch is a transaction. Rows that lie close
    together are written as they come; others are collected, so that each page of the database is
    written once, up to the end of the epoch: what an epoch holds is committed before it counts as
    done. The database is the state (`delivered IS NULL`), so a rerun can't deliver an event twice.
    """

    columns: ClassVar = ("rowid", "kind", "level")
    """What it needs of a batch."""

    path: Path
    run_state: RunState
    settings: SinkSettings = SinkSettings()
    writes_here: bool = True
    """Whether this process of a cluster is the one that writes."""
    connection: Connection | None = None
    """The connection that writes, which stays open; None: one of its own."""
    descriptor: int | None = None
    """Of the database file, through which pages are read ahead; None: they are not."""
    last_number: int | None = None
    """What the highest number must be at the start; None: whatever it is."""
    are_there: Callable[[Connection, pa.Array], bool] | None = None
    """Whether these rows still are the events that were read, where another program may write; it
    is asked inside the transaction."""

    def list_parts(self) -> list[str]:
        """The one partition, where the database is."""
        return ["db"] if self.writes_here else []

    def build_part(  # Bytewax's signature
        self,
        step_id: str,  # noqa: ARG002
        for_part: str,  # noqa: ARG002
        resume_state: int | None,  # noqa: ARG002
    ) -> "_Writer":
        """Open the one connection that writes."""
        return _Writer(self)


class _Writer(StatefulSinkPartition[pa.RecordBatch, int]):
    def __init__(self, sink: DeliveredSink) -> None:
        self._path = sink.path
        self._run_state = sink.run_state
        self._settings = sink.settings
        self._new: list[tuple[Integers, Integers]] = []
        """Rowids and levels that have come and are in no run yet."""
        self._new_rows = 0
        self._inits = 0
        """Init events among all that is not written yet: normally none."""
        self._runs: list[SortedRun] = []
        self._files = RunFiles(sink.settings.spill_folder, sink.settings.memory_bytes)
        self._last_number = sink.last_number
        self._are_there = sink.are_there
        self._descriptor = sink.descriptor
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._batch: Future[None] | None = None
        with self._failing():
            self._is_own = sink.connection is None
            self._connection = sink.connection or connect(sink.path, "rw")
            level = "FULL" if self._settings.durable else "NORMAL"
            execute(
                self._connection, f"PRAGMA wal_autocheckpoint={self._settings.checkpoint_pages}"
            )
            execute(self._connection, f"PRAGMA cache_size=-{self._settings.cache_kib}")
            execute(self._connection, f"PRAGMA synchronous={level}")

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        for batch in values:
            self._new.append((np.asarray(batch["rowid"]), np.asarray(batch["level"])))
            self._new_rows += batch.num_rows
            self._inits += int(np.count_nonzero(np.asarray(batch["kind"]) <= UNSIGNED_INIT))
        while self._new_rows >= self._longest_run():
            self._cut_run(self._longest_run())
        is_free = self._batch is None or self._batch.done()
        if not self._runs and self._new_rows >= self._settings.dense_rows and is_free:
            rowid = np.concatenate([rowid for rowid, _ in self._new])
            if self._is_dense(rowid):
                self._cut_run(self._new_rows)

    def snapshot(self) -> int:
        # while the flow waits for what is written here, what its steps have freed is of no use
        pa.default_memory_pool().release_unused()
        if self._new_rows:
            self._cut_run(self._new_rows)
        self._write_runs(dense=False)
        self._await_batch()
        return self._last_number or 0

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        if self._is_own:
            # Bytewax aborts the process where closing raises after another error
            with self._run_state.measure("close", 0), suppress(SqliteError):
                self._connection.close()

    def _longest_run(self) -> int:
        return min(self._settings.run_rows, self._settings.batch_rows or self._settings.run_rows)

    def _cut_run(self, rows: int) -> None:
        """Sort the first `rows` events that have come; write all runs if that is due.

        It is due when the newest run is dense, and when a transaction may not hold another one.
        """
        rowid, level = (np.concatenate(column) for column in zip(*self._new, strict=True))
        self._new = [(rowid[rows:], level[rows:])] if rows < self._new_rows else []
        self._new_rows -= rows
        run = sorted_run(rowid[:rows], level[:rows])
        with self._failing():
            self._runs.append(self._files.keep(run))
        held = sum(len(run.rowid) for run in self._runs)
        most = self._settings.batch_rows
        dense = self._is_dense(run.rowid)
        if dense or (most is not None and held + self._longest_run() > most):
            self._write_runs(dense=dense)

    def _is_dense(self, rowid: Integers) -> bool:
        """Whether these rows share few pages with later ones."""
        if len(rowid) < self._settings.dense_rows:
            return False
        # a few stragglers from far away do not matter
        low, high = np.quantile(rowid, (0.1, 0.9))
        return bool(0.8 * len(rowid) >= self._settings.dense_share * (high - low))

    def _write_runs(self, *, dense: bool) -> None:
        """Hand all runs to the writing thread, which works while the flow goes on.

        The WAL of a dense batch is checkpointed at once: later batches hardly write its pages.
        """
        if not self._runs:
            return
        self._await_batch()
        runs, inits = self._runs, self._inits
        self._runs, self._inits = [], 0
        self._files.forget()
        self._batch = self._thread.submit(self._write, runs, inits, dense)

    def _await_batch(self) -> None:
        if self._batch is not None:
            batch, self._batch = self._batch, None
            batch.result()

    def _write(self, runs: Sequence[SortedRun], inits: int, dense: bool) -> None:
        events = sum(len(run.rowid) for run in runs)
        with self._failing(), self._run_state.writing:
            self._run_state.start_writing(events)
            with self._run_state.measure("write", events):
                first_number = self._write_numbers(runs, events, dense)
            self._last_number = first_number + events - 1
            self._run_state.add_batch(events, inits, first_number)
            if dense and self._settings.checkpoint_pages:
                with self._run_state.measure("checkpoint", events):
                    execute(self._connection, "PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what fails into the error for it, and note it: Bytewax may not pass it on whole."""
        try:
            with sqlite_errors(f"Writing to `{self._path}` failed", advice=None):
                yield
        except InterruptedRunError as error:
            self._run_state.fail(error)
            raise

    def _write_numbers(self, runs: Sequence[SortedRun], events: int, dense: bool) -> int:
        """Write one transaction; the first of its numbers.

        What is dense has just been read; for a few events it is not worth while to look for pages.
        """
        execute(self._connection, "BEGIN IMMEDIATE")
        try:
            first_number = self._next_number(events)
            chunks = numbered(runs, first_number)
            if self._descriptor is not None and not dense and events >= self._settings.dense_rows:
                chunks = read_ahead(chunks, EventPages(self._descriptor, self._connection))
            for numbers in chunks:
                self._set_delivered(numbers)
            with self._run_state.measure("commit", events):
                execute(self._connection, "COMMIT")
        except BaseException:
            # a full disk has already rolled back; a second ROLLBACK fails and must not hide the
            # cause
            with suppress(*DATABASE_ERRORS):
                execute(self._connection, "ROLLBACK")
            raise
        return first_number

    def _next_number(self, events: int) -> int:
        highest = highest_number(self._connection, self._path, InterruptedRunError, room=events)
        if self._last_number is not None and highest != self._last_number:
            raise other_numbers(self._path, highest, self._last_number)
        return highest + 1

    def _set_delivered(self, numbers: pa.RecordBatch) -> None:
        changed = 0
        if self._are_there is None or self._are_there(self._connection, numbers["rowid"]):
            with self._connection.cursor() as cursor:
                cursor.executemany(SET_DELIVERED, numbers)
                changed = cursor.rowcount
        self._run_state.advance_writing(changed)
        if changed != numbers.num_rows:
            raise ChangedRowsError(
                f"Of `{numbers.num_rows}` events `{changed}` were still undelivered in "
                f"`{self._path}`",
                why="another process deletes or delivers events, or the file is damaged "
                "(`PRAGMA integrity_check`)",
                advice="Stop the other process first.",
                retry=True,
            )


def other_numbers(path: Path, highest: int, last: int) -> InterruptedRunError:
    """The error where the highest number is not the one that was written last."""
    return InterruptedRunError(
        f"Another process numbers events in `{path}`",
        why=f"the highest number is `{highest}`, this run wrote `{last}` last",
        advice="Stop the other process first.",
        retry=True,
    )


@dataclass(frozen=True)
class DryRunSink(FixedPartitionedSink[pa.RecordBatch, None]):
    """Counts what would be delivered, and writes nothing."""

    columns: ClassVar = ("kind",)
    """What it needs of a batch."""

    run_state: RunState

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["dry"]

    def build_part(  # Bytewax's signature
        self,
        step_id: str,  # noqa: ARG002
        for_part: str,  # noqa: ARG002
        resume_state: None,  # noqa: ARG002
    ) -> "_Counter":
        """Start to count."""
        return _Counter(self.run_state)


class _Counter(StatefulSinkPartition[pa.RecordBatch, None]):
    def __init__(self, run_state: RunState) -> None:
        self._run_state = run_state

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        for batch in values:
            inits = int(np.count_nonzero(np.asarray(batch["kind"]) <= UNSIGNED_INIT))
            self._run_state.add_batch(batch.num_rows, inits)

    def snapshot(self) -> None:
        return None
