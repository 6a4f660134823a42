"""`ceramic-order synth`."""

from dataclasses import asdict
from pathlib import Path

import click

from connectors.run_state import Phases
from flows.cli.paths import PATH
from flows.synth.database import Order, write_database
from flows.synth.streams import Population
from flows.terminal.console import (
    output_options,
    print_json,
    print_result,
)
from flows.terminal.progress import shown_progress
from flows.terminal.words import counted

SHARE = click.FloatRange(0.0, 1.0)


@click.command(
    "synth",
    epilog="Example: ceramic-order synth sample.db --streams 10000 --forks 0.1 --order shuffled",
)
@click.argument("out", type=PATH)
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
    help="Share of events whose parent is not the latest event of their stream.",
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
    phases = Phases()
    # each event is made, and then stored
    phases.start_phase("making events", 2 * streams * length)
    with shown_progress(phases, quiet=quiet):
        counts = write_database(out, population, order, phases.advance)
    if as_json:
        options = {
            "length": length,
            "forks": forks,
            "order": order,
            "share_missing": missing,
            "streams_delivered": delivered,
            "seed": seed,
        }
        where = {"database": str(out.resolve()), "streams": streams}
        print_json({**where, **asdict(counts), **options})
        return
    print_result(f"{out}: {counted(counts.events, 'event')} in {counted(streams, 'stream')}")
    print_result(f"{counts.delivered:,} delivered, {counts.deliverable:,} to deliver")
    if counts.missing:
        print_result(f"{counts.missing:,} left out, {counts.waiting:,} waiting for them")
