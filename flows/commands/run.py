"""`ceramic-order run`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from flows.console import output_options, print_json, say, story
from flows.run import RunOptions, dry_run, run

if TYPE_CHECKING:
    from flows.run import Summary

_DEFAULTS = RunOptions()


@click.command("run", epilog="Example: ceramic-order run ~/.ceramic-one/db.sqlite3 --report left/")
@click.argument("database", type=click.Path(path_type=Path))
@click.option(
    "--partitions", type=click.IntRange(1, 256), default=_DEFAULTS.partitions, show_default=True, help="Readers, by rowid modulo N."
)
@click.option("--workers", type=click.IntRange(1, 64), default=_DEFAULTS.workers, show_default=True, help="Bytewax worker threads.")
@click.option(
    "--batch-rows",
    type=click.IntRange(1, 10_000_000),
    default=_DEFAULTS.batch_rows,
    show_default=True,
    help="Events of one transaction at the most.",
)
@click.option("--shards", type=click.IntRange(1, 65_536), default=_DEFAULTS.shards, show_default=True, help="Groups of streams.")
@click.option(
    "--check",
    type=click.Choice(["node", "links"]),
    default="node",
    show_default=True,
    help="Deliver what a node could serve, or whatever has readable links.",
)
@click.option("--durable", is_flag=True, help="Sync the disk at every commit: a power loss then costs no batch.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="A folder for waiting.parquet and rejected.parquet.")
@click.option("--dry-run", "dry", is_flag=True, help="Find out what would be delivered, and write nothing.")
@click.option("--strict", is_flag=True, help="Exit 1 if an event was not delivered.")
@output_options
def command(
    database: Path,
    *,
    partitions: int,
    workers: int,
    batch_rows: int,
    shards: int,
    check: str,
    durable: bool,
    report: Path | None,
    dry: bool,
    strict: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Order the undelivered events of DATABASE, in place.

    Every stream is ordered by its prev pointers, and the delivered numbers are written in whole batches. Stop the node first. Any
    stop is safe: running again goes on where it ended.
    """
    options = RunOptions(partitions, workers, shards, batch_rows, check == "node", durable, report, quiet)
    summary = dry_run(database, options) if dry else run(database, options)
    if as_json:
        print_json(summary.to_json())
    else:
        say(_table(summary, dry=dry))
    if not quiet and summary.tally.inits:
        story().print(f"Of these, {summary.tally.inits:,} are init events, which a node stores as delivered.", highlight=False)
    return int(strict and bool(summary.tally.reasons))


def _table(summary: "Summary", *, dry: bool) -> Table:
    tally = summary.tally
    table = Table(title="Dry run, nothing was written" if dry else None, show_header=False, title_justify="left")
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_row("discovered", f"{tally.discovered:,}")
    table.add_row("would be delivered" if dry else "delivered", f"{tally.delivered:,}")
    if tally.first_number is not None:
        table.add_row("numbers", f"{tally.first_number:,} to {tally.last_number:,}")
    table.add_row("waiting", f"{summary.waiting:,}")
    table.add_row("rejected", f"{summary.quarantined:,}")
    for reason, count in sorted(tally.reasons.items()):
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    table.add_row("events a second", f"{summary.to_json()['events_per_second']:,}")
    return table
