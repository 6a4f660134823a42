"""The report: what was left undelivered, counted and listed with its reason."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.errors import InterruptedRunError, system_says
from connectors.result_folder import ResultFolder
from connectors.run_state import RunState
from operators.encoding.base32 import cid_texts

FILES = {True: "waiting.parquet", False: "rejected.parquet"}
"""By whether the events in it wait for another event or were rejected themselves."""

TEXT_COLUMNS = ("cid", "stream", "prev", "cause")
"""The columns of CIDs that a report also holds as text, as `cid_text` and so on."""

GROUP_ROWS = 65_536
"""Events of a row group, at most: with their texts they take 30 MB while they are written."""

MARK = frozenset({"reason", "cause"})
"""Columns by which a Parquet file is recognised as one of a report."""


class Keeper(Protocol):
    """Takes batches, as a list does."""

    def append(self, batch: pa.RecordBatch, /) -> None:
        """Take one."""


@dataclass(frozen=True)
class ReportSink(FixedPartitionedSink[pa.RecordBatch, None]):
    """Counts events by reason and, with a folder, lists them in two files, `FILES`.

    Batches have the columns rowid, cid, stream, prev, reason, cause; the files have the CIDs as
    text too. The files get their names when `publish` says that the run is complete; one that
    stopped leaves the files of an earlier run as they are.
    """

    folder: Path | None
    schema: pa.Schema
    waiting: frozenset[str]
    """The reasons of events that wait for another event; all others are of rejected events."""
    run_state: RunState
    kept: Keeper | None = None
    """Gets all batches too, if it is given."""
    named: Path | None = None
    """The folder that errors name, where `folder` is a temporary one inside it."""
    counts_here: bool = True
    """Whether this process of a cluster is the one that counts."""
    output: ResultFolder | None = field(init=False, default=None)
    """What makes the files."""

    def __post_init__(self) -> None:
        """Nothing is made yet."""
        if self.folder is not None:
            output = ResultFolder(self.folder, tuple(FILES.values()), MARK)
            object.__setattr__(self, "output", output)  # frozen

    @property
    def file_schema(self) -> pa.Schema:
        """The schema of both files."""
        texts = [pa.field(f"{name}_text", pa.string()) for name in TEXT_COLUMNS]
        return pa.schema([*self.schema, *texts])

    def list_parts(self) -> list[str]:
        """The one partition, where the events are counted."""
        return ["report"] if self.counts_here else []

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 # Bytewax's signature
        for_part: str,  # noqa: ARG002
        resume_state: None,  # noqa: ARG002
    ) -> "_Report":
        """Open the files, if there is a folder."""
        return _Report(self)

    def prepare(self) -> None:
        """Make the folder, and check that files can be made in it.

        Raises:
            CannotStartError: they can't, or a file in their way is not of a report.
        """
        if self.output is not None:
            self.output.prepare()

    def publish(self) -> None:
        """Give the files their names, in place of those of an earlier run.

        No stop while it does so, a power loss included, leaves files of two runs together.
        """
        if self.output is None:
            return
        with self.writing():
            for name in FILES.values():
                if not (file := self.output.partial() / name).exists():
                    # Bytewax builds a partition when its first item comes
                    with file.open("wb") as opened:
                        pq.write_table(self.file_schema.empty_table(), opened)
            self.output.publish()

    def abandon(self) -> None:
        """Remove what is not published; safe to call twice."""
        if self.output is not None:
            self.output.abandon()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an OSError of the block into the error for a report; the run state notes it."""
        try:
            yield
        except OSError as cause:
            error = InterruptedRunError(
                f"Can't write the report in `{self.named or self.folder}`",
                why=system_says(cause),
                retry=True,
            )
            self.run_state.fail(error)
            raise error from cause


def _with_texts(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    texts = [cid_texts(batch[name]) for name in TEXT_COLUMNS]
    return pa.record_batch([*batch.columns, *texts], schema=schema)


class _Report(StatefulSinkPartition[pa.RecordBatch, None]):
    def __init__(self, sink: ReportSink) -> None:
        self._sink = sink
        self._files: dict[bool, tuple[pq.ParquetWriter, IO[bytes]]] = {}
        if sink.output is not None:
            with sink.writing():
                for waits, name in FILES.items():
                    # a file of our own: Arrow takes some names for addresses
                    file = (sink.output.partial() / name).open("wb")
                    writer = pq.ParquetWriter(file, sink.file_schema, compression="zstd")
                    self._files[waits] = (writer, file)

    def write_batch(self, values: list[pa.RecordBatch]) -> None:
        for batch in values:
            counts = pc.value_counts(batch["reason"])
            if self._sink.kept is not None:
                self._sink.kept.append(batch)
            self._sink.run_state.add_left(
                Counter(
                    dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))
                )
            )
            for start in range(0, batch.num_rows, GROUP_ROWS):
                self._write(batch.slice(start, GROUP_ROWS))

    def _write(self, batch: pa.RecordBatch) -> None:
        waits = pc.is_in(batch["reason"], value_set=pa.array(sorted(self._sink.waiting)))
        for kind, (writer, _) in self._files.items():
            rows = batch.filter(waits if kind else pc.invert(waits))
            if rows.num_rows:
                with self._sink.writing():
                    writer.write_batch(_with_texts(rows, self._sink.file_schema))

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        for writer, file in self._files.values():
            # Bytewax aborts the process where closing raises after another error: the run state
            # notes this one
            with suppress(InterruptedRunError), self._sink.writing(), file:
                writer.close()
