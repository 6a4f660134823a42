"""`make bench`: how near the main job comes to the write alone, what it holds in memory, and how it grows.

    make bench                  databases of 100,000, 300,000 and 1,000,000 events; under three minutes once they are made
    make bench BENCH=full       more rounds, and 3,000,000 events

The databases are kept in `build/bench`, the results in `build/bench/results.json`.
"""

import json
import os
import statistics
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.commands.synth import command as synth
from tests.benchmarks.measure import MEBIBYTE, ceramic_order, fresh_copy, write_alone

FOLDER = Path("build/bench")
LENGTH = 10
COMPARED_EVENTS = 300_000
"""The size at which both ways to check are measured, also in a short benchmark."""
FULL = os.environ.get("BENCH") == "full"

console = Console(width=130)


@dataclass(frozen=True)
class Database:
    """A database to measure on."""

    events: int
    order: str
    delivered: int = 0
    """Events in streams that are wholly delivered already."""

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self.events}-{self.order}-{self.delivered}.db"


@dataclass(frozen=True)
class Result:
    """One row of the table: medians over the rounds."""

    events: int
    order: str
    check: str
    undelivered: int
    seconds: float
    write_alone_seconds: float
    ratio: float
    """Median of the ratios of the pairs."""
    events_per_second: float
    peak_anonymous_mebibytes: float
    bytes_per_waiting_event: float
    """Anonymous memory beyond 300 MB, for each undelivered event."""


def main() -> None:
    """Measure, print and keep."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rounds = {100_000: 3, 300_000: 5 if FULL else 3, 1_000_000: 5 if FULL else 1, 3_000_000: 3}
    sizes = [100_000, 300_000, 1_000_000, *([3_000_000] if FULL else [])]
    results = []
    for events, order, check in product(sizes, ("shuffled", "parents"), ("node", "links")):
        if check == "links" and events != COMPARED_EVENTS and not FULL:
            continue
        results.append(measure(made(Database(events, order)), check, rounds[events]))
        console.print(f"{events:,} events, {order}, --check {check}: ratio {results[-1].ratio:.2f}", highlight=False)
    show(results)
    others = first_delivery(made(Database(1_000_000, "shuffled", delivered=999_000))) | read_only(made(Database(300_000, "shuffled")))
    (FOLDER / "results.json").write_text(json.dumps({"runs": [asdict(result) for result in results], **others}, indent=2))


def made(database: Database) -> Database:
    """Make the database, unless an earlier benchmark has."""
    if not database.path.exists():
        streams, delivered = database.events // LENGTH, database.delivered // LENGTH
        console.print(f"Making {database.path} ...", highlight=False)
        options: list[object] = ["--streams", streams, "--length", LENGTH, "--order", database.order, "--delivered", delivered, "--quiet"]
        synth.main([str(database.path), *map(str, options)], standalone_mode=False)
    return database


def measure(database: Database, check: str, rounds: int) -> Result:
    """Run the write alone and the main job in turn, each on a fresh copy."""
    pairs = []
    for _ in range(rounds):
        ordered = fresh_copy(database.path, FOLDER, "ordered.db")
        run = ceramic_order("run", str(ordered), "--check", check)
        pairs.append((write_alone(fresh_copy(database.path, FOLDER), ordered), run))
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
        peak_anonymous_mebibytes=peak / MEBIBYTE,
        bytes_per_waiting_event=max(0.0, peak - 300 * MEBIBYTE) / undelivered,
    )


def first_delivery(database: Database) -> dict[str, float]:
    """1,000 undelivered among 1,000,000: seconds of the whole process, and of the run in it."""
    run = ceramic_order("run", str(fresh_copy(database.path, FOLDER)))
    console.print(
        f"{run.document['delivered']:,} undelivered among {database.events:,}: {run.document['seconds']:.2f} s in a process of "
        f"{run.process_seconds:.2f} s",
        highlight=False,
    )
    return {"few_undelivered_seconds": run.document["seconds"], "few_undelivered_process_seconds": run.process_seconds}


def read_only(database: Database) -> dict[str, float]:
    """Replay against the run, and what is verified in a second."""
    ordered = fresh_copy(database.path, FOLDER, "ordered.db")
    run = ceramic_order("run", str(ordered))
    replay = ceramic_order("replay", str(database.path), "--out", str(FOLDER / "replay"), "--overwrite", "--no-verify")
    verify = ceramic_order("verify", str(ordered))
    ratio, rate = replay.document["seconds"] / run.document["seconds"], database.events / verify.document["seconds"]
    console.print(f"{database.events:,} events: a replay takes {ratio:.2f} times the run; {rate:,.0f} events/s verified", highlight=False)
    return {"replay_to_run": ratio, "verified_events_per_second": rate}


def show(results: list[Result]) -> None:
    """Print the table."""
    table = Table("events", "order", "check", "events/s", "seconds", "write alone", "ratio", "RssAnon MiB", "B/event over 300 MB", "growth")
    for result in results:
        smaller = next((r for r in results if (r.order, r.check, r.events * 10) == (result.order, result.check, result.events)), None)
        growth = f"{result.seconds / smaller.seconds:.1f}x for 10x" if smaller else ""
        table.add_row(
            f"{result.events:,}",
            result.order,
            result.check,
            f"{result.events_per_second:,.0f}",
            f"{result.seconds:.2f}",
            f"{result.write_alone_seconds:.2f}",
            f"{result.ratio:.2f}",
            f"{result.peak_anonymous_mebibytes:.0f}",
            f"{result.bytes_per_waiting_event:.0f}",
            growth,
        )
    console.print(table)


if __name__ == "__main__":
    main()
