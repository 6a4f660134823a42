"""What the benchmark finds, what is wanted of it, and both as tables."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

CHECKS = ("node", "links")

ALLOWED_BYTES = 250_000_000
"""Of anonymous memory, whatever the size of the database."""

MEBIBYTE = 1024 * 1024

console = Console(width=130, highlight=False)


@dataclass(frozen=True)
class Result:
    """Medians over the rounds, of one database and one `--check`."""

    events: int
    order: str
    check: str
    undelivered: int
    seconds: float
    write_alone_seconds: float
    ratio: float
    """Median of the ratios of the pairs."""
    events_per_second: float
    cores: float
    """Busy on average, from start to exit of the process."""
    anonymous_bytes: int
    bytes_per_waiting_event: float
    """Anonymous memory beyond ALLOWED_BYTES, for each undelivered event."""


@dataclass(frozen=True)
class FirstDelivery:
    """Medians for few undelivered events among many, in seconds from the process's start."""

    check: str
    interpreter_seconds: float
    """From start to exit of an interpreter that does nothing."""
    run_begins_seconds: float
    """When everything is loaded; this and the next count the printing of the summary too, some
    milliseconds."""
    first_delivery_seconds: float
    """When the first transaction is committed."""

    @property
    def beyond_interpreter(self) -> float:
        """What is to be small."""
        return self.first_delivery_seconds - self.interpreter_seconds


@dataclass(frozen=True)
class Reading:
    """Medians of `tests/benchmarks/reading.py`: microseconds of processor an undelivered event."""

    check: str
    stage: float
    """For the pages of a run."""
    plain: float
    """For the same rows as plain columns."""


WANTED_READING_MICROSECONDS = 2.5
"""The most that reading an event may take, on the machine for which it is wanted."""

WANTED_READING_RATIO = 1.8
"""The same as times the plain reading, which took 1.4 us there."""

WANTED_RATIOS = {
    (300_000, "parents"): 1.2,
    (300_000, "shuffled"): 1.5,
    (1_000_000, "shuffled"): 1.4,
    (3_000_000, "shuffled"): 1.5,
}
"""By events and order of the rows, the most that a run may take of the time of the write alone."""

WANTED_BYTES = {(3_000_000, "shuffled"): 100.0}
"""The most of `bytes_per_waiting_event`."""

WANTED_FIRST_DELIVERY_SECONDS = 0.5
"""The most that the first delivery may take beyond the interpreter's start."""


def show_targets(
    results: list[Result], first: list[FirstDelivery], readings: list[Reading]
) -> None:
    """Print what is wanted next to what is."""
    table = Table("target", title="Wanted and reached", title_justify="left")
    for heading in ("at most", *(f"--check {check}" for check in CHECKS)):
        table.add_column(heading, justify="right")
    found = {(result.events, result.order, result.check): result for result in results}
    for (events, order), wanted in WANTED_RATIOS.items():
        reached = [found.get((events, order, check)) for check in CHECKS]
        ratios = [None if result is None else result.ratio for result in reached]
        table.add_row(
            f"{events:,} events, {order}: times the write alone",
            f"{wanted:g}",
            *(_compared(ratio, wanted) for ratio in ratios),
        )
    for (events, order), wanted in WANTED_BYTES.items():
        reached = [found.get((events, order, check)) for check in CHECKS]
        sizes = [None if result is None else result.bytes_per_waiting_event for result in reached]
        name = f"{events:,} events, {order}: bytes of RssAnon for each waiting event beyond 250 MB"
        table.add_row(name, f"{wanted:g}", *(_compared(size, wanted) for size in sizes))
    stages = {reading.check: reading.stage for reading in readings}
    ratios_to_plain = {reading.check: reading.stage / reading.plain for reading in readings}
    for name, most, by_check in (
        ("microseconds of processor an event", WANTED_READING_MICROSECONDS, stages),
        ("times the same rows as plain columns", WANTED_READING_RATIO, ratios_to_plain),
    ):
        cells = [_compared(by_check.get(check), most) for check in CHECKS]
        table.add_row(f"300,000 events, shuffled, reading: {name}", f"{most:g}", *cells)
    seconds = {start.check: start.beyond_interpreter for start in first}
    name = "first delivery of few among 1,000,000: seconds beyond the interpreter's start"
    wanted = WANTED_FIRST_DELIVERY_SECONDS
    table.add_row(name, f"{wanted:g}", *(_compared(seconds.get(check), wanted) for check in CHECKS))
    console.print(table)


def _compared(value: float | None, wanted: float) -> Text:
    if value is None:
        return Text("only in the long benchmark", style="dim")
    return (
        Text(f"{value:.2f}", style="green")
        if value <= wanted
        else Text(f"missed: {value:.2f}", style="red")
    )


def show_results(results: list[Result]) -> None:
    """Print all that was measured."""
    headings = (
        "events",
        "order",
        "check",
        "events/s",
        "seconds",
        "write alone",
        "ratio",
        "cores",
        "RssAnon MiB",
        "growth",
    )
    table = Table(*headings)
    for result in results:
        smaller = next(
            (
                r
                for r in results
                if (r.order, r.check, r.events * 10) == (result.order, result.check, result.events)
            ),
            None,
        )
        table.add_row(
            f"{result.events:,}",
            result.order,
            result.check,
            f"{result.events_per_second:,.0f}",
            f"{result.seconds:.2f}",
            f"{result.write_alone_seconds:.2f}",
            f"{result.ratio:.2f}",
            f"{result.cores:.2f}",
            f"{result.anonymous_bytes / MEBIBYTE:.0f}",
            f"{result.seconds / smaller.seconds:.1f}x for 10x" if smaller else "",
        )
    console.print(table)


def show_first_delivery(first: list[FirstDelivery]) -> None:
    """Print when the first delivery comes."""
    for start in first:
        console.print(
            f"Few undelivered, --check {start.check}: a bare interpreter takes "
            f"{start.interpreter_seconds:.3f} s, the run begins after "
            f"{start.run_begins_seconds:.3f} s,\n"
            f"the first delivery is committed after {start.first_delivery_seconds:.3f} s."
        )
