"""The sink: writes the delivered order into the database, one transaction a batch."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from numpy.typing import NDArray

from connectors.errors import InterruptedRunError
from connectors.run_state import RunState
from connectors.sqlite import DATABASE_ERRORS, connect, execute, scalar, sqlite_says

BATCH_ROWS = 1_000_000
"""Events of one transaction at the most: two to four seconds of writing, which a kill can cost.
The fewer batches rows in random order are written in, the fewer pages are written twice; in a
large database each costs a page of write-ahead log, together 4 GB."""

DENSE_ROWS = 50_000
"""A batch of so many events is written at once, beside the flow, if its rows lie close together:
it shares few pages with later ones."""

DENSE_SHARE = 0.7
"""From this share of the rows in its range on a batch is dense: few are left there that a later
batch could bring."""

CHECKPOINT_PAGES = 65_536
"""The write-ahead log is taken into the database when it has grown to 256 MB. Rows in random
order write most pages again in each batch, and a log taken in after every batch writes each of
them twice."""

CACHE_KIB = 16_384
"""What SQLite may keep of the pages that a batch writes. Rows in random order put their numbers
all over the newest part of the index on `delivered`, and a million of them, which is 19 MB of
it, took 1.3 times as long with the usual 2 MB."""

INIT_KINDS = 2
"""Codes in the column `kind` below this are those of init events."""

SET_DELIVERED = "UPDATE ceramic_one_event SET delivered = ? WHERE rowid = ? AND delivered IS NULL"

UNDELIVERED = "SELECT rowid FROM ceramic_one_event WHERE rowid = ? AND delivered IS NULL"

Rowids = NDArray[np.int64]


class _Ordered(NamedTuple):
    """Events in delivery order."""

    rowid: Rowids
    is_init: NDArray[np.bool_]


@dataclass(frozen=True)
class DeliveredSink(FixedPartitionedSink[pa.RecordBatch, int]):
    """Gives the events of each batch the next numbers, in the order in which they come.

    One partition, because there is one counter. A batch is a transaction; it is cut after
    `batch_rows` events and at the end of each epoch, and what an epoch holds is committed before
    the epoch counts as done. The database is the state (`delivered IS NULL`), so a rerun can't
    deliver an event twice.
    """

    columns: ClassVar = ("rowid", "kind")
    """What it needs of a batch."""

    path: Path
    batch_rows: int
    run_state: RunState
    durable: bool = False
    """Sync the disk at every commit (`synchronous=FULL`), not only when the write-ahead log is
    taken in (NORMAL, as the node does)."""
    writes_here: bool = True
    """Whether this process of a cluster is the one that writes."""

    def list_parts(self) -> list[str]:
        """The one partition, where the database is."""
        return ["db"] if self.writes_here else []

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Writer":  # noqa: ARG002 # Bytewax's signature
        """Open the one connection that writes.

        After a resume under Bytewax's recovery, events can come again that were committed after the
        last snapshot; those are passed over. Without one an event that is delivered already was
        delivered by somebody else.
        """
        return _Writer(self, resumed=resume_state is not None)


class _Writer(StatefulSinkPartition[pa.RecordBatch, int]):
    def __init__(self, sink: DeliveredSink, *, resumed: bool) -> None:
        self._sink = sink
        self._resumed = resumed
        self._waiting: list[_Ordered] = []
        self._last_number: int | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._batch: Future[None] | None = None
        with self._failing():
            self._connection = connect(sink.path, "rw")
            execute(self._connection, f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            execute(self._connection, f"PRAGMA cache_size=-{CACHE_KIB}")
            execute(self._connection, f"PRAGMA synchronous={'FULL' if sink.durable else 'NORMAL'}")

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        # no more is kept of an event than its rowid and whether it is an init event
        self._waiting += [
            _Ordered(np.asarray(batch["rowid"]), np.asarray(batch["kind"]) < INIT_KINDS)
            for batch in values
        ]
        rows = sum(len(ordered.rowid) for ordered in self._waiting)
        if rows >= self._sink.batch_rows:
            self._write_waiting(whole=True)
        elif (
            rows >= DENSE_ROWS
            and (self._batch is None or self._batch.done())
            and _is_dense(self._rowids())
        ):
            self._write_waiting(whole=False)

    def snapshot(self) -> int:
        # while the flow waits for what is written here, what its steps have freed is of no use to
        # it
        pa.default_memory_pool().release_unused()
        self._write_waiting(whole=False)
        self._await_batch()
        return self._last_number or 0

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        with self._sink.run_state.measure("close", 0):
            self._connection.close()

    def _rowids(self) -> Rowids:
        return np.concatenate([ordered.rowid for ordered in self._waiting])

    def _write_waiting(self, *, whole: bool) -> None:
        """Hand what has come to the writing thread, which runs beside the flow, in batches; if `whole`, a last short one waits.

        The pages of a dense batch are taken into the database at once: later ones will hardly write
        them again.
        """
        if not self._waiting:
            return
        rows, step = sum(len(ordered.rowid) for ordered in self._waiting), self._sink.batch_rows
        rowid, is_init = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        end = rows // step * step if whole else rows
        self._waiting = [_Ordered(rowid[end:], is_init[end:])] if end < rows else []
        for start in range(0, end, step):
            batch = slice(start, min(start + step, end))
            dense = _is_dense(rowid[batch])
            self._await_batch()
            self._batch = self._thread.submit(
                self._write, rowid[batch], int(np.count_nonzero(is_init[batch])), dense
            )

    def _await_batch(self) -> None:
        if self._batch is not None:
            batch, self._batch = self._batch, None
            batch.result()

    def _write(self, rowids: Rowids, inits: int, dense: bool) -> None:
        with self._failing(), self._sink.run_state.writing:
            if self._resumed:
                rowids = self._still_undelivered(rowids)
                if not len(rowids):
                    return
            with self._sink.run_state.measure("write", len(rowids)):
                first_number = self._write_numbers(rowids)
            self._last_number = first_number + len(rowids) - 1
            self._sink.run_state.add_batch(len(rowids), inits, first_number)
            if dense:
                with self._sink.run_state.measure("checkpoint", len(rowids)):
                    execute(self._connection, "PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what fails into the error for it, and note it: Bytewax does not always pass it on whole."""
        try:
            yield
        except DATABASE_ERRORS as cause:
            error = InterruptedRunError(
                f"Writing to `{self._sink.path}` failed", why=f"{sqlite_says(cause)}"
            )
            self._sink.run_state.fail(error)
            raise error from cause
        except InterruptedRunError as error:
            self._sink.run_state.fail(error)
            raise

    def _still_undelivered(self, rowids: Rowids) -> Rowids:
        with self._connection.cursor() as cursor:
            cursor.execute(UNDELIVERED, pa.record_batch([pa.array(rowids)], names=["rowid"]))
            undelivered = cursor.fetch_arrow_table()["rowid"].to_numpy()
        return rowids[np.isin(rowids, undelivered)]

    def _write_numbers(self, rowids: Rowids) -> int:
        """Write one transaction; the first of its numbers."""
        execute(self._connection, "BEGIN IMMEDIATE")
        try:
            first_number = self._next_number(len(rowids))
            self._number(rowids, first_number)
            with self._sink.run_state.measure("commit", len(rowids)):
                execute(self._connection, "COMMIT")
        except BaseException:
            # a full disk has already rolled back; a second ROLLBACK fails and must not hide the
            # cause
            with suppress(*DATABASE_ERRORS):
                execute(self._connection, "ROLLBACK")
            raise
        return first_number

    def _next_number(self, events: int) -> int:
        found = scalar(self._connection, "SELECT max(delivered) FROM ceramic_one_event")
        if not isinstance(found, int | None):
            raise InterruptedRunError(
                f"`{self._sink.path}` holds `{found}` as a delivered number, which is none",
                advice="Find out with `ceramic-order verify` where.",
            )
        highest = max(found or 0, 0)
        if self._last_number is not None and highest != self._last_number:
            raise InterruptedRunError(
                f"Another process numbers events in `{self._sink.path}`",
                why=f"the highest number is `{highest}`, this run wrote `{self._last_number}` last",
                advice="Stop the other process first.",
            )
        if highest > np.iinfo(np.int64).max - events:
            raise InterruptedRunError(
                f"`{self._sink.path}` holds the number `{highest}`, and none larger is left "
                f"for `{events}` events",
                advice="Find out with `ceramic-order verify` who wrote it.",
            )
        return int(highest) + 1

    def _number(self, rowids: Rowids, first_number: int) -> None:
        # in the order of the rows each page of the table is touched once; random order costs a page
        # of WAL an event
        by_rowid = np.argsort(rowids)
        numbers = first_number + by_rowid
        parameters = pa.record_batch(
            [pa.array(numbers), pa.array(rowids[by_rowid])], names=["delivered", "rowid"]
        )
        with self._connection.cursor() as cursor:
            cursor.executemany(SET_DELIVERED, parameters)
            changed = cursor.rowcount
        if changed != len(rowids):
            raise InterruptedRunError(
                f"Of `{len(rowids)}` events `{changed}` were still undelivered in `{self._sink.path}`",
                why="another process delivers events, or the file is damaged (`PRAGMA "
                "integrity_check`)",
                advice="Stop the other process first.",
            )


def _is_dense(rowids: Rowids) -> bool:
    """Whether these rows share few pages with later ones."""
    if len(rowids) < DENSE_ROWS:
        return False
    # a few stragglers from far away do not matter
    low, high = np.quantile(rowids, (0.1, 0.9))
    return bool(0.8 * len(rowids) >= DENSE_SHARE * (high - low))


@dataclass(frozen=True)
class DryRunSink(FixedPartitionedSink[pa.RecordBatch, None]):
    """Counts what would be delivered, and writes nothing."""

    columns: ClassVar = ("kind",)
    """What it needs of a batch."""

    run_state: RunState

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["dry"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Counter":  # noqa: ARG002 # Bytewax's signature
        """Begin to count."""
        return _Counter(self.run_state)


class _Counter(StatefulSinkPartition[pa.RecordBatch, None]):
    def __init__(self, run_state: RunState) -> None:
        self._run_state = run_state

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        for batch in values:
            self._run_state.add_batch(
                batch.num_rows, int(np.count_nonzero(np.asarray(batch["kind"]) < INIT_KINDS))
            )

    def snapshot(self) -> None:
        return None
