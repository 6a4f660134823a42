"""The log: the delivered order as Parquet files, instead of numbers in the database."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.log_folder import failed_write
from connectors.run_state import RunState

ORDER = pa.schema(
    [
        pa.field(
            "delivered", pa.int64(), nullable=False
        ),  # the event's number: dense, from the snapshot's MAX(delivered) + 1 on
        pa.field("cid", pa.binary(), nullable=False),  # the event's CID
        pa.field("stream", pa.binary(), nullable=False),  # CID of the stream's init event
        pa.field("prev", pa.binary()),  # CID of the parent; null: an init event
        pa.field(
            "kind", pa.dictionary(pa.int8(), pa.string()), nullable=False
        ),  # "init", "unsigned init", "data" or "time"
        pa.field("rowid", pa.int64(), nullable=False),  # of the event table
    ]
)
"""The delivered order, a row an event, rising by `delivered`."""

GROUP_ROWS = 1_000_000
"""The most events of a row group, which is written at once."""

GROUP_BYTES_AN_EVENT = 400
"""Bytes of memory for an event: while it is held, while it is written, and in the writer's buffers.
"""

FILE_ROWS = 2_000_000
"""About how many events one file has: at 66 bytes each, 130 MB."""


@dataclass(frozen=True)
class LogFile:
    """One file of the order; its numbers are dense. The one file of an empty order has none."""

    name: str
    events: int
    first_number: int | None
    last_number: int | None


class LogSink(FixedPartitionedSink[pa.RecordBatch, None]):
    """Numbers events in the order in which they come, and writes them to `order-00000.parquet`, ...

    One partition, because there is one order. What is held becomes a row group when `batch_rows`
    events have come, whatever the epoch: the files are of use only when all is complete (`finish`).
    So a log is made from its start or not at all, and this sink can't resume.
    """

    columns: ClassVar = ("rowid", "cid", "stream", "prev", "kind")
    """What it needs of a batch."""

    def __init__(
        self,
        folder: Path,
        kinds: tuple[str, ...],
        first_number: int,
        batch_rows: int,
        run_state: RunState,
        *,
        file_rows: int = FILE_ROWS,
    ) -> None:
        """Nothing is written yet. The codes in the column kind are indices into `kinds`."""
        self._files = _Files(folder, first_number, batch_rows, file_rows)
        self._kinds = pa.array(kinds)
        self._next_number = first_number
        self._batch_rows = batch_rows
        self._run_state = run_state
        self._held: list[pa.RecordBatch] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log")
        self._write = Future[None]()
        self._write.set_result(None)

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["log"]

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 # Bytewax's signature
        for_part: str,  # noqa: ARG002
        resume_state: None,  # noqa: ARG002
    ) -> "_Part":
        """Start the order."""
        return _Part(self)

    def add(self, batch: pa.RecordBatch) -> None:
        """Number a batch, and hold it until there are enough events for a row group.

        Raises:
            InterruptedRunError: the disk is full or fails.
        """
        numbers = pa.array(np.arange(self._next_number, self._next_number + batch.num_rows))
        kind = pa.DictionaryArray.from_arrays(batch["kind"], self._kinds)
        columns = [numbers, batch["cid"], batch["stream"], batch["prev"], kind, batch["rowid"]]
        self._held.append(pa.record_batch(columns, schema=ORDER))
        self._run_state.add_batch(batch.num_rows, batch["prev"].null_count, self._next_number)
        self._next_number += batch.num_rows
        if sum(held.num_rows for held in self._held) >= self._batch_rows:
            self._cut()

    def finish(self) -> list[LogFile]:
        """Write what is held, and complete the files.

        Raises:
            InterruptedRunError: the disk is full or fails.
        """
        self._write.result()
        self._thread.shutdown()
        self._append(self._held)
        with self._disk_errors_explained():
            self._files.finish()
        return self._files.written

    def _cut(self) -> None:
        """Write what is held while the flow goes on; only one such write is under way."""
        self._write.result()
        held, self._held = self._held, []
        self._write = self._thread.submit(self._append, held)

    def _append(self, held: list[pa.RecordBatch]) -> None:
        with self._disk_errors_explained():
            self._files.write(pa.Table.from_batches(held, schema=ORDER))

    @contextmanager
    def _disk_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            error = failed_write(self._files.folder.parent, cause)
            self._run_state.fail(error)
            raise error from cause


def group_rows(memory_bytes: int) -> int:
    """How many events a row group may have, so that the sink takes no more memory than this."""
    return max(1, min(GROUP_ROWS, memory_bytes // GROUP_BYTES_AN_EVENT))


class _Part(StatefulSinkPartition[pa.RecordBatch, None]):
    def __init__(self, sink: LogSink) -> None:
        self._sink = sink

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        for batch in values:
            self._sink.add(batch)

    def snapshot(self) -> None:
        return None


class _Files:
    """Writes tables of schema ORDER, concatenated, into files of about `file_rows`.

    There is always at least one file.
    """

    def __init__(self, folder: Path, first_number: int, group_rows: int, file_rows: int) -> None:
        self.folder = folder
        self.written: list[LogFile] = []
        self._group_rows, self._file_rows = group_rows, file_rows
        self._first_number = self._next_number = first_number
        self._writer: pq.ParquetWriter | None = None
        self._file: IO[bytes]

    def write(self, rows: pa.Table) -> None:
        for start in range(0, rows.num_rows, self._group_rows):
            group = rows.slice(start, self._group_rows)
            self._open().write_table(group, row_group_size=group.num_rows)
            self._next_number += group.num_rows
            if self._next_number - self._first_number >= self._file_rows:
                self._close()

    def finish(self) -> None:
        if self._writer is not None or not self.written:
            self._close()

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            # a file of our own: Arrow takes some names for addresses
            self._file = (self.folder / self._name()).open("wb")
            self._writer = pq.ParquetWriter(
                self._file,
                ORDER,
                compression="zstd",
                use_dictionary=[
                    "stream",
                    "kind",
                ],  # no CID comes twice in the columns cid and, but for forks, prev
                sorting_columns=[pq.SortingColumn(ORDER.get_field_index("delivered"))],
            )
        return self._writer

    def _close(self) -> None:
        self._open().close()
        self._file.close()
        self._writer = None
        events = self._next_number - self._first_number
        numbers = (self._first_number, self._next_number - 1) if events else (None, None)
        self.written.append(LogFile(self._name(), events, *numbers))
        self._first_number = self._next_number

    def _name(self) -> str:
        return f"order-{len(self.written):05}.parquet"
