"""`ceramic-order run`."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.table import Table

from connectors.run_state import RunState
from flows.cli.flow_options import flow_options
from flows.cli.page_option import page_option, report_for_page, write
from flows.cli.paths import FILE, FOLDER, PATH
from flows.cli.summary import print_wrong_notes, summary_table
from flows.jobs.follow import FollowSettings, follow
from flows.jobs.options import RunOptions
from flows.jobs.run import dry_run, run
from flows.jobs.run_result import RunResult
from flows.report.output_file import require_writable
from flows.report.profile import Profile, ProfileDocument, write_profile
from flows.report.throughput import Sample, sampled
from flows.terminal.console import (
    output_options,
    print_event,
    print_json,
    print_message,
    print_result,
)
from flows.terminal.words import counted


def _listening_address(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[str, int] | None:
    """The address and port that an option means."""
    if text is None:
        return None
    from flows.report.metrics import listening_address  # noqa: PLC0415 # seldom wanted

    try:
        return listening_address(text)
    except ValueError as cause:
        raise click.BadParameter(str(cause)) from cause


@click.command("run", epilog="Example: ceramic-order run ~/.ceramic-one/db.sqlite3 --report left/")
@click.argument("database", type=PATH)
@flow_options
@click.option(
    "--durable",
    is_flag=True,
    help="Sync the disk at every commit: a power loss then costs no batch.",
)
@click.option(
    "--report",
    type=FOLDER,
    help="A folder for waiting.parquet and rejected.parquet: what is left, with reasons.",
)
@page_option
@click.option(
    "--profile",
    "profile_file",
    type=FILE,
    help="A file for a profile, as JSON: where the time went.",
)
@click.option(
    "--metrics",
    metavar="[ADDRESS:]PORT",
    callback=_listening_address,
    help="Serve counts for Prometheus while it runs, on 127.0.0.1 if no address is given.",
)
@click.option(
    "--follow",
    "follows",
    is_flag=True,
    help="Then deliver what other programs insert, until a signal. Not for a node's database.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.01, 3600),
    metavar="SECONDS",
    show_default="1",
    help="With --follow: seconds between two looks at the database.",
)
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Find out what would be delivered, and write nothing."
)
@click.option("--strict", is_flag=True, help="Exit 1 if an event was not delivered.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How progress, messages and errors are written on stderr; json: one object a line.",
)
@output_options
def command(
    database: Path,
    *,
    durable: bool,
    report: Path | None,
    page: Path | None,
    profile_file: Path | None,
    metrics: tuple[str, int] | None,
    follows: bool,
    interval: float | None,
    is_dry: bool,
    strict: bool,
    log: str,
    as_json: bool,
    options: RunOptions,
) -> int:
    """Order the undelivered events of DATABASE, in place.

    Every stream is ordered by its prev pointers, and the delivered numbers are written in whole
    batches. Stop the node first. Any stop is safe: running again goes on where it ended.
    """
    if log == "json":
        from flows.terminal.json_log import use_json_log  # noqa: PLC0415 # seldom wanted

        use_json_log()
    refused = {"--dry-run": is_dry, "--report": report, "--html": page}
    settings = _follow_settings(interval, refused, follows=follows)
    options = replace(options, durable=durable)
    profile, measured = None, None
    if profile_file is not None:
        require_writable(profile_file, database, "a profile", kept=[report, page])
        profile = Profile()
        options = replace(options, measure=profile.measure)
    with ExitStack() as stack:
        folder = stack.enter_context(report_for_page(page, database, report))
        samples: list[Sample] = []
        if page is not None:
            options = replace(options, watch=lambda state: sampled(state, samples))
        if metrics is not None:
            options = stack.enter_context(_served(metrics, database, options, profile))
        options = replace(options, report=folder)
        result = _run(database, options, settings, is_dry=is_dry)
        if page is not None and folder is not None:
            from flows.report.answers import run_page  # noqa: PLC0415 # loads DuckDB

            write(page, folder, lambda stuck: run_page(result, stuck, samples, dry=is_dry))
    if profile_file is not None and profile is not None:
        measured = profile.to_json()
        write_profile(profile_file, {"run": result.to_json(), **measured})
    if as_json:
        print_json(result.to_json())
    else:
        more = {
            "seconds": f"{result.seconds:.1f}",
            "events a second": f"{result.events_per_second:,}",
        }
        print_result(summary_table(result, more, is_dry=is_dry))
        if measured is not None and not options.quiet:
            print_result(_profile_table(measured, result.run_state.discovered))
    if not options.quiet:
        _print_remarks(result)
        print_event("done", "", result.to_json())
    return int(strict and bool(result.run_state.reasons))


def _follow_settings(
    interval: float | None, refused: Mapping[str, object], *, follows: bool
) -> FollowSettings | None:
    """The settings of a run that follows; None: it does not.

    `refused` are the values of options that only a run with an end can have.
    """
    if not follows:
        if interval is not None:
            raise click.UsageError("`--interval` is for `--follow`")
        return None
    for name, value in refused.items():
        if value:
            raise click.UsageError(f"`{name}` can't be combined with `--follow`, which has no end")
    return FollowSettings() if interval is None else FollowSettings(interval)


def _run(
    database: Path, options: RunOptions, settings: FollowSettings | None, *, is_dry: bool
) -> RunResult:
    if settings is not None:
        return follow(database, options, settings)
    return dry_run(database, options) if is_dry else run(database, options)


def _print_remarks(result: RunResult) -> None:
    """Say what is unusual in a run that went to its end."""
    state = result.run_state
    if state.inits:
        print_message(
            f"Among the delivered: {counted(state.inits, 'init event')}, which a node "
            "would have stored as delivered."
        )
    print_wrong_notes(state)
    if state.wal_bytes:
        print_message(
            f"`{result.database.name}-wal` holds {state.wal_bytes:,} bytes that another program "
            "keeps from the database; it belongs to the database."
        )


@contextmanager
def _served(
    address: tuple[str, int], database: Path, options: RunOptions, profile: Profile | None
) -> Iterator[RunOptions]:
    """Serve the metrics of the run with these options while the block runs."""
    from flows.report.metrics import RunMetrics, serving  # noqa: PLC0415 # seldom wanted

    profile = profile or Profile()
    metrics = RunMetrics(database, profile)

    @contextmanager
    def watch(state: RunState) -> Iterator[None]:
        with options.watch(state), metrics.watch(state):
            yield

    with serving(address, metrics):
        yield replace(options, watch=watch, measure=profile.measure)


def _profile_table(measured: ProfileDocument, discovered: int) -> Table:
    """Where the time went.

    `seconds` are of all threads that did a stage, `cores` those that it kept busy over the run.
    """
    table = Table("stage", title="Where the time went", title_justify="left")
    for heading in ("calls", "rows", "seconds", "processor", "cores"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole = measured["seconds"]
    for name, stage in measured["stages"].items():
        cpu = stage["cpu_seconds"]
        table.add_row(
            name,
            f"{stage['calls']:,}",
            f"{stage['rows']:,}",
            f"{stage['seconds']:.2f}",
            f"{cpu:.2f}",
            f"{cpu / whole:.2f}",
        )
    outside = measured["outside_stages_cpu_seconds"]
    table.add_row(
        "all else", "", "", "", f"{outside:.2f}", f"{outside / whole:.2f}", end_section=True
    )
    table.add_row(
        "run",
        "",
        f"{discovered:,}",
        f"{whole:.2f}",
        f"{measured['cpu_seconds']:.2f}",
        f"{measured['cores']:.2f}",
    )
    return table
