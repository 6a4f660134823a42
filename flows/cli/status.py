"""`ceramic-order status`."""

from pathlib import Path

import click
from rich.table import Table

from flows.jobs.run import RunOptions
from flows.jobs.status import Left, Status, status
from flows.terminal.console import output_options, print_json, print_message, print_result


@click.command("status", epilog="Example: ceramic-order status ~/.ceramic-one/db.sqlite3 --reasons")
@click.argument("database", type=click.Path(path_type=Path))
@click.option(
    "--reasons", is_flag=True, help="Also run the flow dry, to tell why events are not delivered."
)
@output_options
def command(database: Path, *, reasons: bool, quiet: bool, as_json: bool) -> None:
    """Count what DATABASE holds: events, streams, delivered and undelivered, by kind.

    Nothing is changed, and a node may be running. The kinds are told from the events' CIDs and what
    the node noted; blocks are read with --reasons only.
    """
    found = status(database, reasons=RunOptions(quiet=quiet) if reasons else None)
    if as_json:
        print_json(found.to_json())
        return
    print_result(_kinds(found))
    print_result(_facts(found))
    if found.left is not None:
        print_result(_reasons(found.left))
        # no table: a CID is to be copied, so it must never be cut
        for stream in found.left.stuck_streams:
            print_result(f"  {stream['stream']}: {stream['events']:,} events, {stream['reason']}")
    if found.estimated and not quiet:
        print_message(
            f"Of {found.estimated:,} events the node did not note the stream (before v0.36): that one of them begins a stream is told by "
            "four bytes of its key.",
        )


def _kinds(found: Status) -> Table:
    table = Table()
    table.add_column("")
    for heading in ("events", "delivered", "undelivered"):
        table.add_column(heading, justify="right")
    for name, kind in found.kinds.items():
        if kind.events:
            table.add_row(name, *_counts(*kind))
    table.add_section()
    table.add_row("all", *_counts(found.events, found.undelivered))
    return table


def _counts(events: int, undelivered: int) -> tuple[str, str, str]:
    return f"{events:,}", f"{events - undelivered:,}", f"{undelivered:,}"


def _facts(found: Status) -> str:
    highest = "none" if found.highest_number is None else f"{found.highest_number:,}"
    migration = "not recorded" if found.schema.migration is None else str(found.schema.migration)
    return "\n".join(
        [
            f"streams         {found.streams:,}",
            f"highest number  {highest}",
            f"schema          {found.schema.version}, migration {migration}",
            f"in use          {'yes, another process has it open' if found.in_use else 'no'}",
            f"a run           {found.plan}",
        ]
    )


def _reasons(left: Left) -> str:
    run_state = left.summary.run_state
    lines = [
        f"\nA run would deliver {run_state.delivered:,}, leave {left.summary.waiting:,} waiting and reject {left.summary.rejected:,}.",
        *(f"  {reason}: {count:,}" for reason, count in sorted(run_state.reasons.items())),
    ]
    if left.missing:
        lines.append(
            f"They wait for {len(left.missing):,} missing events, which `ceramic-order missing` lists."
        )
    if left.stuck_streams:
        lines.append("\nThe streams with the most events that would be left:")
    return "\n".join(lines)
