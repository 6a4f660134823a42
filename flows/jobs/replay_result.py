"""What a replay did, as its summary and as what its page shows."""

import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from connectors.database import Schema
from connectors.log import LogFile
from flows.jobs.run import Summary
from flows.report.counts import Facts, LogFacts
from flows.report.pace import Sample
from flows.verify.verification import Verification
from operators.schemas import WAITING


@dataclass(frozen=True)
class Replay:
    """What a replay did."""

    summary: Summary
    size: int
    """Bytes of the snapshot."""
    schema: Schema
    journals: list[str]
    """Names of the files beside the snapshot because of which a private copy was read; without
    any it was read where it is."""
    files: list[LogFile]
    digest: str
    """The order digest (`flows.report.digest`)."""
    pace: list[Sample]
    verification: Verification | None
    """Of the log; None if it was not asked for."""
    log: LogFacts | None
    """Counted for a page only."""
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document of `--json` and of `replay.json`, a written contract (flows/cli/README.md)."""
        counts = self.summary.to_json()
        del counts["database"], counts["batches"]
        return {
            "snapshot": str(self.summary.database),
            "size": self.size,
            "schema": {
                "migration": self.schema.migration,
                "has_init_cid": self.schema.has_init_cid,
            },
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

    def facts(self) -> Facts:
        """What its page shows."""
        summary, run_state = self.summary, self.summary.run_state
        reasons: dict[bool, dict[str, int]] = {True: {}, False: {}}
        for reason, count in run_state.reasons.items():
            reasons[reason in WAITING][reason] = count
        numbers = (
            "none"
            if run_state.first_number is None
            else f"{run_state.first_number:,} to {run_state.last_number:,}"
        )
        details = {
            "snapshot": str(summary.database),
            "size": f"{self.size:,} bytes",
            "schema migration": str(self.schema.migration),
            "numbers": numbers,
            "order digest": self.digest,
            "verification": "not asked for"
            if self.verification is None
            else "passed"
            if self.verification.is_good
            else "failed",
            "seconds": f"{summary.seconds:.1f}",
            "partitions, workers, shards": f"{summary.options.partitions}, {summary.options.workers}, {summary.options.shards}",
            **{f"version of {name}": version for name, version in self.versions.items()},
        }
        title = f"Replay of {summary.database.name}"
        return Facts(
            title, details, run_state.delivered, reasons[True], reasons[False], self.pace, self.log
        )


def versions(sqlite: str) -> dict[str, str]:
    """The versions of this program and of everything that its result could depend on."""
    names = [
        "ceramic-order",
        *(
            re.split("[^A-Za-z0-9-]", needed)[0]
            for needed in metadata.requires("ceramic-order") or []
        ),
    ]
    return {
        "python": platform.python_version(),
        "sqlite": sqlite,
        **{name: metadata.version(name) for name in names},
    }
