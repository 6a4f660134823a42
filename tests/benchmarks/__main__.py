"""`make bench`: the job against the write alone, its memory, and its first delivery.

    make bench                  100,000, 300,000 and 1,000,000 events, these also in 400 MB of
                                memory: four minutes once the databases are made
    make bench BENCH=full       more rounds, and 3,000,000 events
    make bench BENCH=scale      how a run grows: `tests/benchmarks/scale.py`

The databases are kept in `build/bench`; the results go to `results.json`, `results.png` and
`timeline.png` there.
"""

import json
import os
import statistics
from contextlib import closing
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from connectors.sqlite import connect, execute, scalar
from flows.cli.main import LIBRARIES
from tests.benchmarks.measure import (
    FOLDER,
    Database,
    Measured,
    bare_start,
    fresh_copy,
    machine,
    measured_run,
    remove,
    write_alone,
)
from tests.benchmarks.picture import draw_results, draw_timeline
from tests.benchmarks.scale import in_little_memory
from tests.benchmarks.targets import (
    ALLOWED_BYTES,
    CHECKS,
    MEBIBYTE,
    FirstDelivery,
    Reading,
    Result,
    console,
    show_first_delivery,
    show_results,
    show_targets,
)
from tests.benchmarks.write_alone import numbers_of
from tests.support.program import python, run

COMPARED_EVENTS = 300_000
"""The size at which everything is measured, also in a short benchmark."""

FULL = os.environ.get("BENCH") == "full"

ROUNDS = (
    {100_000: 3, 300_000: 5, 1_000_000: 5, 3_000_000: 5}
    if FULL
    else {100_000: 1, 300_000: 5, 1_000_000: 1}
)
"""By size of the database."""

FIRST_ROUNDS = 5


def main() -> None:
    """Measure, print, draw and keep."""
    results: list[Result] = []
    document: dict[str, Any] = {"machine": machine(), "runs": []}
    for events, order, check in product(ROUNDS, ("parents", "shuffled"), CHECKS):
        if order == "parents" and events > COMPARED_EVENTS and not FULL:
            continue
        results.append(measure(made(Database(events, order)), check, ROUNDS[events]))
        document["runs"].append(asdict(results[-1]))
        keep(document)
        console.print(
            f"{events:,} events, {order}, --check {check}: "
            f"ratio {results[-1].ratio:.2f}, {results[-1].cores:.2f} cores busy"
        )
    first = first_delivery(made(Database(1_000_000, "shuffled", delivered=999_000)))
    document["first_delivery"] = [asdict(start) for start in first]
    readings = reading(made(Database(COMPARED_EVENTS, "shuffled")))
    document["reading"] = [asdict(one) for one in readings]
    document |= read_only(made(Database(COMPARED_EVENTS, "shuffled")))
    document["profile"] = profiled(
        made(Database(max(ROUNDS) if FULL else COMPARED_EVENTS, "shuffled"))
    )
    document["little_memory"] = in_little_memory(made(Database(1_000_000, "shuffled")))
    keep(document)
    for copy in ("ordered.db", "work.db"):
        remove(FOLDER / copy)
    show_results(results)
    show_first_delivery(first)
    show_targets(results, first, readings)
    draw_results(FOLDER / "results.png", results)
    draw_timeline(FOLDER / "timeline.png", document["profile"])


def keep(document: dict[str, Any]) -> None:
    """Write what was measured so far: a benchmark that is cut off keeps it."""
    (FOLDER / "results.json").write_text(json.dumps(document, indent=2))


def made(database: Database) -> Database:
    """Make the database, unless an earlier benchmark has."""
    if not database.path.exists():
        console.print(f"Making {database.path} ...")
    database.make()
    return database


def measure(database: Database, check: str, rounds: int) -> Result:
    """Run the write alone and the main job in turn, each on a fresh copy."""
    pairs = []
    for _ in range(rounds):
        ordered = fresh_copy(database.path, "ordered.db")
        run = measured_run("run", ordered, "--check", check)
        numbers = numbers_of(ordered, database.path, FOLDER / "numbers.parquet")
        pairs.append((write_alone(fresh_copy(database.path), numbers).seconds, run))
    seconds = statistics.median(run.document["seconds"] for _, run in pairs)
    undelivered = pairs[0][1].document["delivered"]
    peak = statistics.median(run.anonymous_bytes for _, run in pairs)
    return Result(
        events=database.events,
        order=database.order,
        check=check,
        undelivered=undelivered,
        seconds=seconds,
        write_alone_seconds=statistics.median(alone for alone, _ in pairs),
        ratio=statistics.median(run.document["seconds"] / alone for alone, run in pairs),
        events_per_second=undelivered / seconds,
        cores=statistics.median(run.cores for _, run in pairs),
        anonymous_bytes=int(peak),
        bytes_per_waiting_event=max(0.0, peak - ALLOWED_BYTES) / undelivered,
    )


def first_delivery(database: Database) -> list[FirstDelivery]:
    """Few undelivered events among many: the profile has the time of the first commit."""
    copy = fresh_copy(database.path)
    with closing(connect(copy)) as connection:
        highest = scalar(connection, "SELECT max(delivered) FROM ceramic_one_event")
    starts = []
    for check in CHECKS:
        begins, firsts = [], []
        for _ in range(FIRST_ROUNDS):
            run, profile = run_profiled(copy, "--check", check)
            begins.append(run.process_seconds - profile["seconds"])
            firsts.append(begins[-1] + profile["stages"]["write"]["first_done"])
            with closing(connect(copy, "rw")) as connection:
                execute(
                    connection,
                    f"UPDATE ceramic_one_event SET delivered = NULL WHERE delivered > {highest:d}",
                )  # a number
        bare = statistics.median(bare_start() for _ in range(FIRST_ROUNDS))
        starts.append(
            FirstDelivery(check, bare, statistics.median(begins), statistics.median(firsts))
        )
    return starts


def reading(database: Database) -> list[Reading]:
    """What reading takes with nothing next to it, and in turn the same rows as plain columns."""
    found = []
    for check in CHECKS:
        program = python("-m", "tests.benchmarks.reading", database.path, check)
        rounds = run(program, environment=LIBRARIES).document
        pages, plain = (statistics.median(rounds[name]) for name in ("pages", "plain"))
        found.append(Reading(check, pages, plain))
        console.print(
            f"{database.events:,} events, --check {check}: reading takes {pages:.1f} us of "
            f"processor an event, as plain columns {plain:.1f} us"
        )
    return found


def run_profiled(copy: Path, *options: str) -> tuple[Measured, dict[str, Any]]:
    """Run the main job, and say where its time went."""
    file = FOLDER / "profile.json"
    run = measured_run("run", copy, "--profile", str(file), *options)
    return run, json.loads(file.read_text())


def read_only(database: Database) -> dict[str, float]:
    """Replay against the run, and what is verified in a second."""
    ordered = fresh_copy(database.path, "ordered.db")
    run = measured_run("run", ordered)
    replay = measured_run(
        "replay", database.path, "--out", str(FOLDER / "replay"), "--overwrite", "--no-verify"
    )
    verify = measured_run("verify", ordered)
    ratio, rate = (
        replay.document["seconds"] / run.document["seconds"],
        database.events / verify.document["seconds"],
    )
    peak = verify.anonymous_bytes / MEBIBYTE
    console.print(
        f"{database.events:,} events: a replay takes {ratio:.2f} times the run; "
        f"{rate:,.0f} events/s verified in at most {peak:.0f} MiB"
    )
    return {
        "replay_to_run": ratio,
        "verified_events_per_second": rate,
        "verify_peak_anonymous_mebibytes": peak,
    }


def profiled(database: Database) -> dict[str, Any]:
    """The profile of a run in the default configuration."""
    return run_profiled(fresh_copy(database.path))[1]


if __name__ == "__main__":
    main()
