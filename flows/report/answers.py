"""What an operator asks after a run, a replay or a verification, answered for its page."""

import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from flows.jobs.replay_result import Replay
from flows.jobs.run import Summary
from flows.report.drawing import Bar
from flows.report.page import Answer, Page
from flows.report.stuck import Stuck
from flows.report.throughput import Sample
from flows.verify.verification import Finding, Verification
from operators.schemas import WAITING

MEBIBYTE = 1 << 20

IS_IT_SAFE = "Is it safe to start the node?"
WHAT_IS_LEFT = "What is left, and why?"
WHAT_IS_STUCK = "Which streams are stuck, and on what?"
WHAT_TO_FETCH = "What is there to fetch?"
DID_RULES_PASS = "Did every rule pass?"  # noqa: S105 # no password
HOW_LONG = "How long did it take, and how much memory?"


def run_page(summary: Summary, stuck: Stuck, samples: Sequence[Sample], *, dry: bool) -> Page:
    """The page of a run, or of a dry run."""
    verify = f"ceramic-order verify {quote(str(summary.database))}"
    return Page(
        title=f"{'Dry run' if dry else 'Run'} of {summary.database.name}",
        answers=[
            _safe_after_dry_run(summary) if dry else _safe_after_run(summary),
            *_left(summary, stuck, dry=dry),
            Answer(
                DID_RULES_PASS,
                "open",
                "A run does not check its own result.",
                "Verifying takes about as long as the run, and changes nothing.",
                verify,
            ),
            _cost(summary.seconds, summary.run_state.discovered, "read"),
        ],
        fates=_fates(summary),
        samples=samples,
        details={
            "database": str(summary.database),
            "discovered": f"{summary.run_state.discovered:,}",
            "numbers": _numbers(summary),
            "check": "node" if summary.options.check_node else "links",
            "partitions": f"{summary.options.partitions}",
            "memory limit": f"{summary.options.memory.limit:,} bytes",
        },
    )


def replay_page(replay: Replay, stuck: Stuck, samples: Sequence[Sample]) -> Page:
    """The page of a replay."""
    summary = replay.summary
    return Page(
        title=f"Replay of {summary.database.name}",
        answers=[
            Answer(
                IS_IT_SAFE,
                "open",
                "This changed nothing for a node.",
                "A replay only reads the snapshot. "
                f"A run on the same database would deliver {_events(summary.run_state.delivered)}.",
            ),
            *_left(summary, stuck, dry=True),
            _rules_of_log(replay),
            _cost(summary.seconds, summary.run_state.discovered, "read"),
        ],
        fates=_fates(summary),
        samples=samples,
        log=replay.log,
        details={
            "snapshot": str(summary.database),
            "size": f"{replay.size:,} bytes",
            "schema migration": str(replay.schema.migration),
            "numbers": _numbers(summary),
            "order digest": replay.digest,
            "partitions": f"{summary.options.partitions}",
            "memory limit": f"{summary.options.memory.limit:,} bytes",
            **{f"version of {name}": version for name, version in replay.versions.items()},
        },
    )


def verify_page(found: Verification) -> Page:
    """The page of a verification."""
    undelivered = found.events - found.delivered
    database = quote(str(found.database))
    left = (
        Answer(WHAT_IS_LEFT, "good", f"Nothing: all {_events(found.events)} are delivered.")
        if not undelivered
        else Answer(
            WHAT_IS_LEFT,
            "open",
            f"{undelivered:,} of {_events(found.events)} are undelivered.",
            "A verification does not ask why.",
            f"ceramic-order status {database} --reasons",
        )
    )
    return Page(
        title=f"Verification of {found.database.name}",
        answers=[
            _safe_after_verification(found),
            left,
            _rules(found),
            _cost(found.seconds, found.events, "verified"),
        ],
        fates=[
            Bar("delivered", found.delivered, "delivered"),
            Bar("undelivered", undelivered, "waiting"),
        ],
        details={
            "database": str(found.database),
            "baseline": str(found.baseline or "none"),
            "log": str(found.log or "none"),
            "blocks": f"{found.blocks:,}",
        },
    )


def _safe_after_run(summary: Summary) -> Answer:
    if not summary.options.check_node:
        return Answer(
            IS_IT_SAFE,
            "open",
            "Only if a node can read what was delivered.",
            "With `--check links` nobody has looked, and a node's feed stops for ever at a "
            "delivered event that it can't read. Verify first.",
            f"ceramic-order verify {quote(str(summary.database))}",
        )
    more = "Every number is written, and the disk has it."
    if summary.run_state.reasons:
        more += " What is left stays undelivered until what it waits for is there."
    return Answer(IS_IT_SAFE, "good", "Yes.", more)


def _safe_after_dry_run(summary: Summary) -> Answer:
    delivered = summary.run_state.delivered
    if not delivered:
        return Answer(IS_IT_SAFE, "good", "Yes: a run would deliver nothing.")
    return Answer(
        IS_IT_SAFE,
        "open",
        f"Not yet: a run would deliver {_events(delivered)}.",
        "A dry run writes nothing. Stop the node, then run.",
        f"ceramic-order run {quote(str(summary.database))}",
    )


def _safe_after_verification(found: Verification) -> Answer:
    failed = found.failed - {"nothing-left"}
    if failed:
        return Answer(
            IS_IT_SAFE,
            "bad",
            f"No: {_count(len(failed), 'rule')} failed.",
            "Restore the copy from before, or ask for help with the list below.",
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


def _left(summary: Summary, stuck: Stuck, *, dry: bool) -> Sequence[Answer]:
    """What is left and why, the stuck streams, and what is there to fetch."""
    reasons = summary.run_state.reasons
    if not reasons:
        return [Answer(WHAT_IS_LEFT, "good", "Nothing." if not dry else "Nothing would be left.")]
    left = Answer(
        WHAT_IS_LEFT,
        "open",
        f"{summary.waiting:,} {'wait' if summary.waiting != 1 else 'waits'} for another event, "
        f"{summary.rejected:,} {'are' if summary.rejected != 1 else 'is'} rejected.",
        table=[
            ("reason", "events", "kind"),
            *(
                (reason, f"{count:,}", "waiting" if reason in WAITING else "rejected")
                for reason, count in reasons.most_common()
            ),
        ],
    )
    answers = [left]
    if stuck.largest:
        answers.append(
            Answer(
                WHAT_IS_STUCK,
                "open",
                f"{_count(stuck.streams, 'stream')}.",
                f"The {len(stuck.largest)} with the most events that are left; "
                "`ceramic-order why` explains one event."
                if stuck.streams > len(stuck.largest)
                else "`ceramic-order why` explains one event.",
                table=[("stream", "events", "reason", "because of event"), *_rows(stuck)],
            )
        )
    if stuck.missing:
        answers.append(
            Answer(
                WHAT_TO_FETCH,
                "open",
                f"{_events(stuck.missing)} that the database does not hold.",
                "Fetch them from another node, then run again. What they in turn need shows then.",
                f"ceramic-order missing {quote(str(summary.database))}",
                [("missing event",), *((cid,) for cid in stuck.first_missing)],
            )
        )
    return answers


def _rows(stuck: Stuck) -> Sequence[Sequence[str]]:
    return [
        (
            one.stream,
            f"{one.events:,}",
            one.reason,
            one.cause if one.cause != one.stream else "its first",
        )
        for one in stuck.largest
    ]


def _rules_of_log(replay: Replay) -> Answer:
    if replay.verification is None:
        return Answer(DID_RULES_PASS, "open", "Nobody has looked: `--no-verify` was given.")
    return _rules(replay.verification)


def _rules(found: Verification) -> Answer:
    skipped = sum(finding.is_skipped for finding in found.findings)
    checked = len(found.findings) - skipped
    not_asked = f" {_count(skipped, 'rule')} need more input and were skipped." if skipped else ""
    old = sum(finding.in_baseline for finding in found.findings)
    of_old = f" {_count(old, 'violation')} are older damage and do not count." if old else ""
    table = [
        ("rule", "result", "what it says"),
        *(
            (finding.rule.name, _result(finding), finding.rule.promise)
            for finding in found.findings
        ),
    ]
    more = f"{not_asked}{of_old}".strip()
    if found.is_good:
        return Answer(
            DID_RULES_PASS, "good", f"Yes, all {checked} that were checked.", more, table=table
        )
    names = "`, `".join(sorted(found.failed))
    return Answer(DID_RULES_PASS, "bad", f"No: `{names}` failed.", more, table=table)


def _result(finding: Finding) -> str:
    broken = finding.status == "failed"
    return f"failed: {_count(finding.violations, 'violation')}" if broken else finding.status


def _cost(seconds: float, events: int, done: str) -> Answer:
    rate = f", {events / seconds:,.0f} events {done} a second" if seconds and events else ""
    own, children = peak_memory()
    of_children = f" and {children / MEBIBYTE:,.0f} MiB in its largest child" if children else ""
    return Answer(
        HOW_LONG,
        "good",
        f"{seconds:,.1f} seconds{rate}.",
        f"At most {own / MEBIBYTE:,.0f} MiB of memory{of_children}, "
        "mapped parts of the database included.",
    )


def peak_memory() -> tuple[int, int]:
    """The most memory that this process, and the largest that it started, have had, in bytes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        # without Linux's own count: that one holds also what the process was before it was ours
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, children
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024, children


def _fates(summary: Summary) -> Sequence[Bar]:
    reasons: Mapping[str, int] = summary.run_state.reasons
    return [
        Bar("delivered", summary.run_state.delivered, "delivered"),
        *(
            Bar(reason, count, "waiting" if reason in WAITING else "rejected")
            for reason, count in sorted(
                reasons.items(), key=lambda pair: (pair[0] not in WAITING, -pair[1])
            )
        ),
    ]


def _numbers(summary: Summary) -> str:
    state = summary.run_state
    return (
        "none" if state.first_number is None else f"{state.first_number:,} to {state.last_number:,}"
    )


def _events(count: int) -> str:
    return _count(count, "event")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
