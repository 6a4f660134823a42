"""What a verification found, and its document for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.verify.rules import Rule

RuleStatus = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Violation:
    """One event (or one row, or one table) that breaks a rule."""

    cid: str | None
    """The event in base32; None: there is none, or it can't be named."""
    number: int | None
    related: str | None
    """The prev or the block that it is about, in base32."""
    detail: str
    in_baseline: bool
    """Old damage: the event was already delivered in the baseline."""


@dataclass(frozen=True)
class Finding:
    """What one rule has found."""

    rule: Rule
    violations: int
    """New ones: those that are not in the baseline."""
    in_baseline: int
    """Old damage: those that are in the baseline."""
    first: tuple[Violation, ...]
    """The first few, new ones first, by number."""
    is_skipped: bool = False
    """Whether the input that the rule needs was not given."""

    @property
    def status(self) -> RuleStatus:
        """Whether it passed: old damage alone does not make a rule fail."""
        if self.is_skipped:
            return "skipped"
        return "failed" if self.violations else "passed"


@dataclass(frozen=True)
class Verification:
    """What `flows.verify.verify.verify` found."""

    database: Path
    baseline: Path | None
    log: Path | None
    events: int
    delivered: int
    blocks: int
    unknown_hashes: int | None
    """Blocks whose hash function is not known; None: hashes were not compared."""
    findings: tuple[Finding, ...]
    """One for each of `RULES`, in their order."""
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether no rule failed."""
        return not any(finding.violations for finding in self.findings)

    @property
    def failed(self) -> set[str]:
        """The names of the rules that failed."""
        return {finding.rule.name for finding in self.findings if finding.violations}

    def to_json(self) -> dict[str, object]:
        """The document of `verify --json`, a contract.

        `database`, `baseline`, `log` (resolved paths, the latter two null if not given); `ok` (no
        new violation); `events`, `delivered`, `undelivered`, `blocks` (counts); `unknown_hashes`
        (blocks whose hash function is not known, null without `--hashes`); `violations`
        and `in_baseline` (sums over the rules: new damage, and old damage that was already in the
        baseline); `seconds` (float), `events_per_second` (integer); and `rules`, a list in a fixed
        order of `{"rule", "promise", "status", "needs", "violations", "in_baseline", "first"}`:
        `status` is `passed`, `failed` or `skipped`, `needs` the option without which the rule is
        skipped (`baseline`, `log`, `hashes` or null), and `first` up to five violations `{"cid",
        "number", "related", "detail", "in_baseline"}` with CIDs in base32, each null where it has
        none.
        """
        return {
            "database": str(self.database.resolve()),
            "baseline": self.baseline and str(self.baseline.resolve()),
            "log": self.log and str(self.log.resolve()),
            "ok": self.is_good,
            "events": self.events,
            "delivered": self.delivered,
            "undelivered": self.events - self.delivered,
            "blocks": self.blocks,
            "unknown_hashes": self.unknown_hashes,
            "violations": sum(finding.violations for finding in self.findings),
            "in_baseline": sum(finding.in_baseline for finding in self.findings),
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds) if self.seconds else 0,
            "rules": [_finding_json(finding) for finding in self.findings],
        }


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule.name,
        "promise": finding.rule.promise,
        "status": finding.status,
        "needs": finding.rule.needs,
        "violations": finding.violations,
        "in_baseline": finding.in_baseline,
        "first": [vars(violation) for violation in finding.first],
    }
