"""`ceramic-order run`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from flows.cli.flow_options import flow_options
from flows.cli.page_option import page_option, report_for_page, write
from flows.jobs.run import RunOptions, dry_run, run
from flows.report.output_file import require_writable
from flows.report.profile import Profile, write_profile
from flows.report.throughput import Sample, sampled
from flows.terminal.console import output_options, print_json, print_message, print_result

if TYPE_CHECKING:
    from flows.jobs.run import Summary


@click.command("run", epilog="Example: ceramic-order run ~/.ceramic-one/db.sqlite3 --report left/")
@click.argument("database", type=click.Path(path_type=Path))
@flow_options
@click.option(
    "--durable",
    is_flag=True,
    help="Sync the disk at every commit: a power loss then costs no batch.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for waiting.parquet and rejected.parquet.",
)
@page_option
@click.option(
    "--profile",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file for where the time went, as JSON.",
)
@click.option(
    "--dry-run", "dry", is_flag=True, help="Find out what would be delivered, and write nothing."
)
@click.option("--strict", is_flag=True, help="Exit 1 if an event was not delivered.")
@output_options
def command(
    database: Path,
    *,
    durable: bool,
    report: Path | None,
    page: Path | None,
    file: Path | None,
    dry: bool,
    strict: bool,
    as_json: bool,
    options: RunOptions,
) -> int:
    """Order the undelivered events of DATABASE, in place.

    Every stream is ordered by its prev pointers, and the delivered numbers are written in whole
    batches. Stop the node first. Any stop is safe: running again goes on where it ended.
    """
    options = replace(options, durable=durable)
    profile, where = None, None
    if file is not None:
        require_writable(file, database, "a profile")
        profile = Profile()
        options = replace(options, measure=profile.measure)
    with report_for_page(page, database, report) as folder:
        samples: list[Sample] = []
        if page is not None:
            options = replace(options, watch=lambda state: sampled(state, samples))
        options = replace(options, report=folder)
        summary = dry_run(database, options) if dry else run(database, options)
        if page is not None and folder is not None:
            from flows.report.answers import run_page  # noqa: PLC0415 # loads DuckDB

            write(page, folder, lambda stuck: run_page(summary, stuck, samples, dry=dry))
    if file is not None and profile is not None:
        where = {"run": summary.to_json(), **profile.to_json()}
        write_profile(file, where)
    if as_json:
        print_json(summary.to_json())
    else:
        print_result(_table(summary, dry=dry))
        if where is not None and not options.quiet:
            print_result(_profile_table(where))
    if not options.quiet and summary.run_state.inits:
        print_message(
            f"Of these, {summary.run_state.inits:,} are init events, which a node stores as delivered.",
        )
    return int(strict and bool(summary.run_state.reasons))


def _table(summary: "Summary", *, dry: bool) -> Table:
    run_state = summary.run_state
    table = Table(
        title="Dry run, nothing was written" if dry else None,
        show_header=False,
        title_justify="left",
    )
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_row("discovered", f"{run_state.discovered:,}")
    table.add_row("would be delivered" if dry else "delivered", f"{run_state.delivered:,}")
    if run_state.first_number is not None:
        table.add_row("numbers", f"{run_state.first_number:,} to {run_state.last_number:,}")
    table.add_row("waiting", f"{summary.waiting:,}")
    table.add_row("rejected", f"{summary.rejected:,}")
    for reason, count in sorted(run_state.reasons.items()):
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    table.add_row("events a second", f"{summary.to_json()['events_per_second']:,}")
    return table


def _profile_table(where: Mapping[str, Any]) -> Table:
    """Where the time went: `seconds` of all threads that did a stage, and the cores that this kept busy over the whole run."""
    table = Table("stage", title="Where the time went", title_justify="left")
    for heading in ("calls", "rows", "seconds", "processor", "cores"):
        table.add_column(heading, justify="right")
    whole = where["seconds"]
    for name, stage in where["stages"].items():
        cpu = stage["cpu_seconds"]
        table.add_row(
            name,
            f"{stage['calls']:,}",
            f"{stage['rows']:,}",
            f"{stage['seconds']:.2f}",
            f"{cpu:.2f}",
            f"{cpu / whole:.2f}",
        )
    outside = where["outside_stages_cpu_seconds"]
    table.add_row(
        "all else", "", "", "", f"{outside:.2f}", f"{outside / whole:.2f}", end_section=True
    )
    table.add_row(
        "run",
        "",
        f"{where['run']['discovered']:,}",
        f"{whole:.2f}",
        f"{where['cpu_seconds']:.2f}",
        f"{where['cores']:.2f}",
    )
    return table
