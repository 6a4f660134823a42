"""What a run did."""

from dataclasses import dataclass
from pathlib import Path

from connectors.run_state import RunState
from flows.jobs.options import RunOptions
from flows.jobs.plan import Plan
from operators.schemas import WAITING


@dataclass(frozen=True)
class RunResult:
    """What a run did."""

    database: Path
    run_state: RunState
    seconds: float
    options: RunOptions
    plan: Plan

    is_dry: bool = False
    interval: float | None = None
    """Seconds between two looks at the database, of a run that followed; None: it did not."""

    @property
    def waiting_reasons(self) -> dict[str, int]:
        """Events that wait for another event, by reason."""
        return {name: n for name, n in sorted(self.run_state.reasons.items()) if name in WAITING}

    @property
    def rejected_reasons(self) -> dict[str, int]:
        """Events that were rejected themselves, by reason."""
        reasons = sorted(self.run_state.reasons.items())
        return {name: n for name, n in reasons if name not in WAITING}

    @property
    def waiting(self) -> int:
        """Events that wait for another event."""
        return sum(self.waiting_reasons.values())

    @property
    def rejected(self) -> int:
        """Events that were rejected themselves."""
        return sum(self.rejected_reasons.values())

    @property
    def events_per_second(self) -> int:
        """Delivered events in a second of the whole run."""
        return round(self.run_state.delivered / self.seconds) if self.seconds else 0

    def to_json(self) -> dict[str, object]:
        """The document of `--json`, a written contract (flows/cli/README.md)."""
        run_state, options = self.run_state, self.options
        batches = {} if self.is_dry else {"batches": run_state.batches}
        return {
            "database": str(self.database),
            "discovered": run_state.discovered,
            "delivered": run_state.delivered,
            "waiting": self.waiting,
            "rejected": self.rejected,
            "reasons": dict(sorted(run_state.reasons.items())),
            "inits": run_state.inits,
            "first_number": run_state.first_number,
            "last_number": run_state.last_number,
            **batches,
            "seconds": round(self.seconds, 3),
            "events_per_second": self.events_per_second,
            "dry_run": self.is_dry,
            "follow": None
            if self.interval is None
            else {"interval": self.interval, "gone": run_state.gone},
            "check": "node" if options.check_node else "links",
            "partitions": options.partitions,
            "batch_rows": options.batch_rows,
            "memory_limit": options.memory.limit,
            "durable": options.durable,
            "wal_bytes": run_state.wal_bytes,
            "wrong_notes": len(run_state.wrong_notes),
            "plan": self.plan.to_json(),
        }
