"""What an operator asks after a verification, answered for its page."""

from shlex import quote

from flows.report.drawing import Bar
from flows.report.page import SIGNS, Answer, PageContent
from flows.report.questions import (
    DID_RULES_PASS,
    IS_IT_SAFE,
    WHAT_BREAKS_THEM,
    WHAT_IS_LEFT,
    cost,
)
from flows.terminal.words import counted
from flows.verify.verification import Finding, Verification

ORDER = ("failed", "passed", "skipped")
"""In which rules are listed: what is wrong comes first."""


def verify_page(found: Verification) -> PageContent:
    """The page of a verification."""
    undelivered = found.events - found.delivered
    database = quote(str(found.database))
    left = (
        Answer(
            WHAT_IS_LEFT, "good", f"Nothing: all {counted(found.events, 'event')} are delivered."
        )
        if not undelivered
        else Answer(
            WHAT_IS_LEFT,
            "open",
            f"{undelivered:,} of {counted(found.events, 'event')} are undelivered.",
            "A verification does not ask why.",
            f"ceramic-order status {database} --reasons",
        )
    )
    return PageContent(
        title=f"Verification of {found.database.name}",
        answers=[
            _safe_after_verification(found),
            left,
            *rules(found),
            cost(found.seconds, found.events, "verified"),
        ],
        fates=[
            Bar("delivered", found.delivered, "delivered"),
            Bar("undelivered", undelivered, "waiting"),
        ],
        fates_title="The events of the database",
        details={
            "database": str(found.database),
            "baseline": str(found.baseline or "none"),
            "log": str(found.log or "none"),
            "blocks": f"{found.blocks:,}",
        },
    )


def _safe_after_verification(found: Verification) -> Answer:
    failed = found.failed - {"nothing-left"}
    if failed:
        return Answer(
            IS_IT_SAFE,
            "bad",
            f"No: {counted(len(failed), 'rule')} failed.",
            "Put the copy from before in place, or ask for help with the events below.",
        )
    if found.failed:
        return Answer(
            IS_IT_SAFE,
            "open",
            "Not yet: there are events that can be delivered.",
            "What is delivered is right. Stop the node, then run.",
            f"ceramic-order run {quote(str(found.database))}",
        )
    return Answer(IS_IT_SAFE, "good", "Yes: no rule failed.")


def rules(found: Verification) -> list[Answer]:
    """Whether every rule passed, and which events break one."""
    findings = sorted(found.findings, key=lambda finding: ORDER.index(finding.status))
    skipped = [finding for finding in findings if finding.is_skipped]
    old = sum(finding.in_baseline for finding in findings)
    more = []
    if skipped:
        needed = sorted({f"`--{finding.rule.needs}`" for finding in skipped})
        more.append(f"{counted(len(skipped), 'rule')} need {', '.join(needed)}.")
    if old:
        more.append(f"{counted(old, 'violation')} are older damage and do not count.")
    table = [
        ("rule", "result", "what it says"),
        *((finding.rule.name, _result(finding), finding.rule.promise) for finding in findings),
    ]
    if found.is_good:
        short = f"Yes, all {len(findings) - len(skipped)} that were checked."
        return [Answer(DID_RULES_PASS, "good", short, " ".join(more), table=table)]
    names = "`, `".join(sorted(found.failed))
    answer = Answer(DID_RULES_PASS, "bad", f"No: `{names}` failed.", " ".join(more), table=table)
    return [answer, _violations(found)]


def _violations(found: Verification) -> Answer:
    """The first events that break each rule."""
    broken = [
        (finding.rule.name, violation)
        for finding in found.findings
        for violation in finding.first
        if not violation.in_baseline
    ]
    total = sum(finding.violations for finding in found.findings)
    more = "`--report` writes all of them." if total > len(broken) else ""
    return Answer(
        WHAT_BREAKS_THEM,
        "bad",
        f"{counted(total, 'violation')}.",
        more,
        table=[
            ("rule", "event", "what is wrong"),
            *((name, violation.cid or "none", violation.detail) for name, violation in broken),
        ],
    )


def _result(finding: Finding) -> str:
    broken = finding.status == "failed"
    return f"{SIGNS['bad']} {finding.violations:,} times" if broken else finding.status
