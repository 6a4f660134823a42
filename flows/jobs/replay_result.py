"""What a replay did."""

from dataclasses import asdict, dataclass

from connectors.log import LogFile
from connectors.schema import Schema
from flows.jobs.run_result import RunResult
from flows.report.counts import LogFacts
from flows.verify.verification import Verification


@dataclass(frozen=True)
class Replay:
    """What a replay did."""

    run: RunResult
    size: int
    """Bytes of the snapshot."""
    schema: Schema
    journals: list[str]
    """Names of the files next to the snapshot because of which a private copy was read; without
    any it was read where it is."""
    files: list[LogFile]
    digest: str
    """The order digest (`flows.report.digest`)."""
    verification: Verification | None
    """What verifying the log found; None: it was not asked for."""
    log: LogFacts | None
    """What is in the log; None: it was counted for no page."""
    versions: dict[str, str]

    def to_json(self) -> dict[str, object]:
        """The document of `--json` and of `replay.json`, a written contract.

        flows/cli/README.md lists its fields.
        """
        counts = self.run.to_json()
        for of_a_run in ("dry_run", "follow", "batches", "durable"):
            del counts[of_a_run]
        return {
            **counts,
            "size": self.size,
            "schema": self.schema.to_json(),
            "private_copy": bool(self.journals),
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
