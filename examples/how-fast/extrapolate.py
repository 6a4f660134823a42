"""Print what was measured at several sizes, and what follows for 100 million events.

python extrapolate.py [FILE]    what `make bench BENCH=scale` wrote; measured.json by default
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

EVENTS = 100_000_000
GB, MB = 1e9, 1e6
MEASURES = (
    "seconds",
    "cpu_seconds",
    "anonymous_bytes",
    "wal_bytes",
    "read_bytes",
    "written_bytes",
    "database_bytes",
)
Run = dict[str, float]

console = Console(width=100, highlight=False)


def along_the_line(runs: list[Run]) -> Run:
    """All measures at EVENTS, on the straight line through the two largest sizes."""
    smaller, larger = sorted(runs, key=lambda run: run["events"])[-2:]
    further = (EVENTS - larger["events"]) / (larger["events"] - smaller["events"])
    return {
        "events": EVENTS,
        **{name: larger[name] + further * (larger[name] - smaller[name]) for name in MEASURES},
    }


def show(table: Table, run: Run, name: str) -> None:
    """Add a row."""
    table.add_row(
        f"{run['events'] / MB:,g}",
        name,
        f"{run['database_bytes'] / GB:,.0f}",
        f"{run['seconds']:,.0f}",
        f"{run['seconds'] / run['events'] * MB:,.1f}",
        f"{run['anonymous_bytes'] / MB:,.0f}",
        f"{run['wal_bytes'] / MB:,.0f}",
        f"{run['read_bytes'] / GB:,.1f}",
        f"{run['written_bytes'] / GB:,.1f}",
    )


measured = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else "measured.json").read_text())
table = Table()
for heading in (
    "million events",
    "",
    "GB",
    "seconds",
    "us an event",
    "RssAnon MB",
    "WAL MB",
    "GB read",
    "GB written",
):
    table.add_column(heading, justify="right")
for cold in (False, True):
    runs = [run for run in measured["runs"] if run["cold"] is cold and run["group_bytes"] is None]
    runs = [run for run in runs if run["memory_limit"] == measured["runs"][0]["memory_limit"]]
    name = "cold" if cold else "warm"
    for run in runs:
        show(table, run, name)
    if len(runs) > 1:
        show(table, along_the_line(runs), f"{name}, by the line")
    table.add_section()
for run in measured["runs"]:
    if run["group_bytes"] is not None:
        show(table, run, f"cold, in {run['group_bytes'] / MB:,.0f} MB")
console.print(table)
