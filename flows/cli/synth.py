"""`ceramic-order synth`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.synth.database import Order, write_database
from flows.synth.streams import Population
from flows.terminal.console import (
    output_options,
    print_json,
    print_message,
    print_result,
    stderr_console,
)
from flows.terminal.progress import LINE_SECONDS

SHARE = click.FloatRange(0.0, 1.0)


@click.command(
    "synth",
    epilog="Example: ceramic-order synth sample.db --streams 10000 --forks 0.1 --order shuffled",
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--streams",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Number of streams.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Events of a stream, its init event included.",
)
@click.option(
    "--forks",
    type=SHARE,
    default=0.0,
    show_default=True,
    help="Share of events that name an earlier parent than the latest.",
)
@click.option(
    "--order",
    type=click.Choice(["parents", "shuffled"]),
    default="parents",
    show_default=True,
    help="Rows parents first, as in normal operation, or by CID, as after a migration.",
)
@click.option(
    "--missing",
    type=SHARE,
    default=0.0,
    show_default=True,
    help="Share of events left out, so that others wait.",
)
@click.option(
    "--delivered",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Streams that are wholly delivered.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The same seed gives the same rows.",
)
@output_options
def command(
    out: Path,
    *,
    streams: int,
    length: int,
    forks: float,
    order: Order,
    missing: float,
    delivered: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the database OUT, with events in the shapes that a node stores.

    Its init events are delivered and all other events are not, apart from those of --delivered
    streams. Signatures are invented, so a node does not take these events; everything here does.
    """
    if delivered > streams:
        raise click.BadParameter(
            f"`{delivered}` is more than the {streams} of --streams.", param_hint="--delivered"
        )
    population = Population(streams, length, forks, missing, delivered, seed)
    with _shown_progress(streams * length, quiet=quiet) as progress:
        counts = write_database(out, population, order, progress)
    if as_json:
        print_json({"database": str(out), "streams": streams, **asdict(counts), "seed": seed})
        return
    print_result(f"{out}: {counts.events:,} events in {streams:,} streams")
    print_result(f"{counts.delivered:,} delivered, {counts.deliverable:,} to deliver")
    if counts.missing:
        print_result(f"{counts.missing:,} left out, {counts.waiting:,} waiting for them")


@contextmanager
def _shown_progress(events: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A function that takes numbers of events made and of events stored, and shows how far that is."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    live = stderr_console().is_terminal and not quiet
    done, lines = 0, 0
    started = time.monotonic()
    with Progress(*columns, console=stderr_console(), transient=True, disable=not live) as bar:
        task = bar.add_task(f"{events:,} events", total=2 * events)

        def advance(count: int) -> None:
            nonlocal done, lines
            done += count
            bar.advance(task, count)
            if not live and not quiet and time.monotonic() - started > (lines + 1) * LINE_SECONDS:
                lines += 1
                print_message(f"{50 * done / events:.0f} % of {events:,} events")

        yield advance
