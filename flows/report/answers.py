"""What an operator asks after a run or a replay, answered for its page."""

from collections.abc import Mapping, Sequence
from shlex import quote

from flows.jobs.replay_result import Replay
from flows.jobs.run_result import RunResult
from flows.report.drawing import Bar
from flows.report.page import Answer, PageContent
from flows.report.questions import (
    DID_RULES_PASS,
    IS_IT_SAFE,
    WHAT_IS_LEFT,
    WHAT_IS_STUCK,
    WHAT_TO_FETCH,
    cost,
)
from flows.report.rule_answers import rules
from flows.report.stuck import Stuck
from flows.report.throughput import Sample
from flows.terminal.words import counted
from operators.schemas import WAITING


def run_page(
    result: RunResult, stuck: Stuck, samples: Sequence[Sample], *, dry: bool
) -> PageContent:
    """The page of a run, or of a dry run."""
    return PageContent(
        title=f"{'Dry run' if dry else 'Run'} of {result.database.name}",
        answers=[
            _safe_after_dry_run(result) if dry else _safe_after_run(result),
            *_left(result, stuck, dry=dry),
            Answer(
                DID_RULES_PASS,
                "open",
                "A dry run leaves nothing to check." if dry else "A run does not check its result.",
                f"{'After the run verify' if dry else 'Verify'}: that takes about three times as "
                "long as the run, and changes nothing.",
                f"ceramic-order verify {quote(str(result.database))}",
            ),
            cost(result.seconds, result.run_state.discovered, "read"),
        ],
        fates=_fates(result),
        samples=samples,
        details={
            "database": str(result.database),
            "discovered": f"{result.run_state.discovered:,}",
            "numbers": _numbers(result),
            "check": "node" if result.options.check_node else "links",
            "partitions": f"{result.options.partitions}",
            "memory limit": f"{result.options.memory.limit:,} bytes",
        },
    )


def replay_page(replay: Replay, stuck: Stuck, samples: Sequence[Sample]) -> PageContent:
    """The page of a replay."""
    result = replay.run
    return PageContent(
        title=f"Replay of {result.database.name}",
        answers=[
            Answer(
                IS_IT_SAFE,
                "open",
                "This changed nothing for a node.",
                "A replay only reads the snapshot. A run on the same database would deliver "
                f"{counted(result.run_state.delivered, 'event')}.",
            ),
            *_left(result, stuck, dry=True),
            *_rules_of_log(replay),
            cost(result.seconds, result.run_state.discovered, "read"),
        ],
        fates=_fates(result),
        samples=samples,
        log=replay.log,
        details={
            "snapshot": str(result.database),
            "size": f"{replay.size:,} bytes",
            "schema migration": str(replay.schema.migration),
            "numbers": _numbers(result),
            "order digest": replay.digest,
            "partitions": f"{result.options.partitions}",
            "memory limit": f"{result.options.memory.limit:,} bytes",
            **{f"version of {name}": version for name, version in replay.versions.items()},
        },
    )


def _safe_after_run(result: RunResult) -> Answer:
    if not result.options.check_node:
        return Answer(
            IS_IT_SAFE,
            "open",
            "Only if a node can read what was delivered.",
            "With `--check links` nobody has looked, and a node's feed stops for ever at a "
            "delivered event that it can't read. Verify first.",
            f"ceramic-order verify {quote(str(result.database))}",
        )
    more = "Every number is written, and the disk has it."
    if result.run_state.reasons:
        more += " What is left stays undelivered until what it waits for is there."
    return Answer(IS_IT_SAFE, "good", "Yes.", more)


def _safe_after_dry_run(result: RunResult) -> Answer:
    delivered = result.run_state.delivered
    if not delivered:
        return Answer(IS_IT_SAFE, "good", "Yes: a run would deliver nothing.")
    return Answer(
        IS_IT_SAFE,
        "open",
        f"Not yet: a run would deliver {counted(delivered, 'event')}.",
        "A dry run writes nothing. Stop the node, then run.",
        f"ceramic-order run {quote(str(result.database))}",
    )


def _left(result: RunResult, stuck: Stuck, *, dry: bool) -> Sequence[Answer]:
    """What is left and why, the stuck streams, and what is there to fetch."""
    reasons = result.run_state.reasons
    if not reasons:
        return [Answer(WHAT_IS_LEFT, "good", "Nothing." if not dry else "Nothing would be left.")]
    left = Answer(
        WHAT_IS_LEFT,
        "open",
        f"{result.waiting:,} {'wait' if result.waiting != 1 else 'waits'} for another event, "
        f"{result.rejected:,} {'are' if result.rejected != 1 else 'is'} rejected.",
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
                f"{counted(stuck.streams, 'stream')}.",
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
                f"{counted(stuck.missing, 'event')} that the database does not hold.",
                "This prints the requests for another node. Fetch them, then run again. What they "
                "in turn need shows then.",
                f"ceramic-order missing {quote(str(result.database))} --curl "
                "http://OTHER-NODE:5101",
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


def _rules_of_log(replay: Replay) -> Sequence[Answer]:
    if replay.verification is None:
        return [Answer(DID_RULES_PASS, "open", "Nobody has looked: `--no-verify` was given.")]
    return rules(replay.verification)


def _fates(result: RunResult) -> Sequence[Bar]:
    reasons: Mapping[str, int] = result.run_state.reasons
    return [
        Bar("delivered", result.run_state.delivered, "delivered"),
        *(
            Bar(reason, count, "waiting" if reason in WAITING else "rejected")
            for reason, count in sorted(
                reasons.items(), key=lambda pair: (pair[0] not in WAITING, -pair[1])
            )
        ),
    ]


def _numbers(result: RunResult) -> str:
    state = result.run_state
    return (
        "none" if state.first_number is None else f"{state.first_number:,} to {state.last_number:,}"
    )
