"""Replay: the main flow on a snapshot that is only read, with a log of Parquet files in place of the sink.

    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "log": order-00000.parquet, ...

Run it as `ceramic-order replay snapshot.db --out order/`, or under Bytewax itself:

    python -m bytewax.run "flows.replay:get_flow('snapshot.db', 'order')" -w 2
"""

import atexit
import platform
import re
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow

from connectors.database import Schema, locate, read_schema, scalar
from connectors.errors import CannotStartError
from connectors.log import LogFile, LogSink
from connectors.log_folder import LogFolder
from connectors.report import ReportSink
from connectors.sink import BATCH_ROWS
from connectors.snapshot import Reader
from connectors.source import UndeliveredSource
from connectors.tally import Tally
from flows.console import story
from flows.digest import order_digest
from flows.lookups import LookUps
from flows.order import PARTITIONS, build_flow
from flows.pace import Sample, sampled
from flows.progress import LINE_SECONDS
from flows.run import RunOptions, Summary, run_into
from flows.runner import finish_by, nothing_changed
from flows.signals import stopped_by_signals
from flows.verifier.verification import Verification
from flows.verify import verify
from operators.decode import payload_multihash
from operators.order import SHARDS
from operators.schemas import KINDS, LEFT, WAITING

HIGHEST_NUMBER = "SELECT max(CASE typeof(delivered) WHEN 'integer' THEN delivered END) FROM ceramic_one_event"


@dataclass(frozen=True)
class Replay:
    """What a replay did."""

    summary: Summary
    size: int
    """Bytes of the snapshot."""
    schema: Schema
    journals: list[str]
    """Names of the files beside the snapshot because of which a private copy was read; without any it was read where it is."""
    files: list[LogFile]
    digest: str
    """The order digest (`flows.digest`)."""
    pace: list[Sample]
    verification: Verification | None
    """Of the log; None if it was not asked for."""
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document of `--json` and of `replay.json`, a written contract (README, JSON)."""
        counts = self.summary.to_json()
        del counts["database"], counts["batches"]
        return {
            "snapshot": str(self.summary.database),
            "size": self.size,
            "schema": {"migration": self.schema.migration, "has_init_cid": self.schema.has_init_cid},
            "private_copy": bool(self.journals),
            **counts,
            "shards": self.summary.options.shards,
            "check": "node" if self.summary.options.check_node else "links",
            "order_digest": self.digest,
            "verification": self.verification
            and {
                "ok": self.verification.is_good,
                "failed": sorted(self.verification.failed),
                "in_baseline": sum(finding.in_baseline for finding in self.verification.findings),
                "seconds": round(self.verification.seconds, 3),
            },
            "files": [asdict(file) for file in self.files],
            "versions": self.versions,
        }


def replay(snapshot: Path, out: Path, options: RunOptions, *, overwrite: bool = False, verified: bool = False) -> Replay:
    """Replay `snapshot` into the folder `out`; nothing else is changed. The log has its own report, whatever `options.report` says.

    If it is to be `verified`, that is done before it is published; what is found does not keep it from being so.

    Raises:
        CannotStartError: the snapshot can't be read or is in use, or `out` can't be written to or holds a log; nothing was changed.
        InterruptedRunError: reading or writing failed midway, or the snapshot was changed meanwhile; there is no new log.
    """
    replaying = _Replaying(snapshot, out, options, overwrite=overwrite)
    with stopped_by_signals(finish_by(replaying.tally, replaying.abandon, nothing_changed)):
        try:
            sink, report = replaying.begin()
            with sampled(replaying.tally) as pace:
                run_into(replaying.path, options, replaying.tally, sink=sink, report=report, connector=replaying.reader)
            return replaying.complete(sink, pace, verified=verified)
        finally:
            replaying.abandon()


def get_flow(
    snapshot: str,
    out: str,
    *,
    partitions: int = PARTITIONS,
    shards: int = SHARDS,
    batch_rows: int = BATCH_ROWS,
    check_node: bool = True,
    overwrite: bool = False,
) -> Dataflow:
    """The replay of `snapshot` into the folder `out`, for `python -m bytewax.run` with one process.

    The log is complete when that process ends, if the flow has come to the end of its input; else there is none.

    Raises:
        CannotStartError: as for `replay`.
    """
    replaying = _Replaying(Path(snapshot), Path(out), RunOptions(partitions, 1, shards, batch_rows, check_node), overwrite=overwrite)
    atexit.register(replaying.abandon)
    sink, report = replaying.begin()
    look_ups = LookUps(replaying.path, replaying.reader, check_node=check_node)

    def complete() -> None:
        look_ups.close()
        if replaying.tally.partitions_read == partitions:
            report.publish()
            replaying.complete(sink, [], verified=False)

    atexit.register(complete)
    source = UndeliveredSource(replaying.path, partitions, payload_multihash, replaying.tally, replaying.reader, with_listed=check_node)
    return build_flow(source, look_ups, sink, report, shards=shards)


class _Replaying:
    """One replay, from the checks before it to its published log."""

    def __init__(self, snapshot: Path, out: Path, options: RunOptions, *, overwrite: bool) -> None:
        self.path = locate(snapshot)
        self.tally = Tally()
        self._started = time.monotonic()
        self._options = options
        if out.resolve() == self.path.parent:
            raise CannotStartError(
                f"`{out}` is the folder of the snapshot itself, which a replay leaves as it is. Nothing was changed. Name another folder."
            )
        self.reader = Reader(self.path, static=True)
        self._log = LogFolder(out, overwrite=overwrite)

    def begin(self) -> tuple[LogSink, ReportSink]:
        """Make the private copy, if one is needed, and see what the snapshot is; the sinks of the flow."""
        if self.reader.journals and not self._options.quiet:
            journals = " and ".join(f"`{name}`" for name in self.reader.journals)
            story().print(
                f"Beside the snapshot lies {journals} with changes that are not in it yet, so this works on a private copy of both.",
                markup=False,
                highlight=False,
            )
        self.reader.__enter__()
        with closing(self.reader(self.path)) as connection:
            self._schema = read_schema(connection, self.path)
            self._sqlite = scalar(connection, "SELECT sqlite_version()")
            first_number = max(scalar(connection, HIGHEST_NUMBER) or 0, 0) + 1
        report = ReportSink(self._log.partial, LEFT, WAITING, self.tally)
        return LogSink(self._log.partial, KINDS, first_number, self._options.batch_rows, self.tally), report

    def complete(self, sink: LogSink, pace: list[Sample], *, verified: bool) -> Replay:
        """Publish the log."""
        files = sink.finish()
        with tempfile.TemporaryDirectory(prefix="spill-", dir=self._log.partial) as spill:
            digest = order_digest(self._log.partial, Path(spill))
        summary = Summary(self.path, self.tally, time.monotonic() - self._started, self._options)
        replayed = Replay(
            summary=summary,
            size=self.path.stat().st_size,
            schema=self._schema,
            journals=self.reader.journals,
            files=files,
            digest=digest,
            pace=pace,
            verification=self._verify() if verified else None,
            versions=versions(self._sqlite),
        )
        self.reader.require_unchanged()
        self._log.publish(replayed.to_json(), self.tally)
        return replayed

    def _verify(self) -> Verification:
        file, log = self.reader.file, self._log.partial
        told = time.monotonic()

        def tell(step: str, done: int, total: int) -> None:
            nonlocal told
            if not self._options.quiet and time.monotonic() - told > LINE_SECONDS:
                told = time.monotonic()
                story().print(f"verifying, {step}: {done:,} of {total:,}", highlight=False)

        found = verify(file, log=log, on_progress=tell)
        # only a baseline tells old damage from new, but comparing with one takes half as long again
        return found if found.is_good else verify(file, baseline=file, log=log, on_progress=tell)

    def abandon(self) -> None:
        """Remove what is not published; safe to call twice, and from another thread."""
        self._log.abandon()
        self.reader.release()


def versions(sqlite: str) -> dict[str, str]:
    """The versions of this program and of everything that its result could depend on."""
    names = ["ceramic-order", *(re.split("[^A-Za-z0-9-]", needed)[0] for needed in metadata.requires("ceramic-order") or [])]
    return {"python": platform.python_version(), "sqlite": sqlite, **{name: metadata.version(name) for name in names}}
