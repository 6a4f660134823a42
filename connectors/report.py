"""The report: what was left undelivered, counted and listed with its reason."""

import errno
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.run_state import RunState

FILES = {True: "waiting.parquet", False: "rejected.parquet"}
"""By whether the events in it wait for another event or were rejected themselves."""


@dataclass(frozen=True)
class ReportSink(FixedPartitionedSink[pa.RecordBatch, None]):
    """Counts events by reason and, with a folder, lists them in `waiting.parquet` and `rejected.parquet`.

    Batches have the columns rowid, cid, stream, prev, reason, cause. The files get their names when
    `publish` says that the run is complete; one that stopped leaves the files of an earlier run as
    they are.
    """

    folder: Path | None
    schema: pa.Schema
    waiting: frozenset[str]
    """The reasons of events that wait for another event; all others are of rejected events."""
    run_state: RunState
    kept: list[pa.RecordBatch] | None = None
    """Gets all batches too, if it is given."""

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["report"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Report":  # noqa: ARG002 # Bytewax's signature
        """Open the files, if there is a folder."""
        return _Report(self)

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            CannotStartError: it can't be made.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise CannotStartError(
                f"Can't make the report folder `{self.folder}`",
                why=f"{cause.strerror}",
                advice="Name another folder.",
            ) from cause

    def publish(self) -> None:
        """Give the files their names, in place of those of an earlier run."""
        if self.folder is None:
            return
        with self.writing():
            for name in FILES.values():
                partial = _partial(self.folder, name)
                if not partial.exists():
                    # Bytewax builds a partition when its first item comes
                    pq.write_table(self.schema.empty_table(), partial)
                partial.replace(self.folder / name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what fails while the files are written into the error for it, and note it."""
        try:
            yield
        except OSError as cause:
            reason = cause.strerror or os.strerror(cause.errno or errno.EIO)
            error = InterruptedRunError(
                f"Can't write the report in `{self.folder}`", why=reason, retry=True
            )
            self.run_state.fail(error)
            raise error from cause


def _partial(folder: Path, name: str) -> Path:
    return folder / f".{name}.partial"


class _Report(StatefulSinkPartition[pa.RecordBatch, None]):
    def __init__(self, sink: ReportSink) -> None:
        self._sink = sink
        self._files: dict[bool, pq.ParquetWriter] = {}
        if sink.folder is not None:
            with sink.writing():
                for waits, name in FILES.items():
                    self._files[waits] = pq.ParquetWriter(
                        _partial(sink.folder, name), sink.schema, compression="zstd"
                    )

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
            waits = pc.is_in(batch["reason"], value_set=pa.array(sorted(self._sink.waiting)))
            for kind, file in self._files.items():
                rows = batch.filter(waits if kind else pc.invert(waits))
                if rows.num_rows:
                    with self._sink.writing():
                        file.write_batch(rows)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        for file in self._files.values():
            with self._sink.writing():
                file.close()
