"""`ceramic-order status`."""

from pathlib import Path

import click
from rich.table import Table

from flows.cli.check_option import check_option
from flows.cli.paths import PATH
from flows.jobs.left import Left, StuckStreamDocument
from flows.jobs.options import RunOptions
from flows.jobs.status import Status, status
from flows.terminal.console import output_options, print_json, print_message, print_result
from flows.terminal.words import counted


@click.command("status", epilog="Example: ceramic-order status ~/.ceramic-one/db.sqlite3 --reasons")
@click.argument("database", type=PATH)
@click.option(
    "--reasons",
    is_flag=True,
    help="Also run the flow dry, to find out why events are not delivered.",
)
@check_option
@output_options
def command(database: Path, *, reasons: bool, check: str, quiet: bool, as_json: bool) -> None:
    """Count what DATABASE holds: events, streams, delivered and undelivered, by kind.

    Nothing is changed, and a node may be running. The kinds are read from the events' CIDs and what
    the node noted; blocks are read with --reasons only.
    """
    options = RunOptions(quiet=quiet, check_node=check == "node")
    found = status(database, reasons=options if reasons else None)
    if as_json:
        print_json(found.to_json())
        return
    print_result(_kinds(found))
    print_result(_lines(found))
    if found.left is not None:
        print_result(_reasons(found.left))
        # no table: a CID is to be copied, so it must never be cut
        for stream in found.left.stuck_streams:
            print_result("\n".join(_stuck(stream)))
    if found.estimated and not quiet:
        print_message(
            f"Of {counted(found.estimated, 'event')} the node did not note the stream (before "
            "v0.36): four bytes of its key show whether one begins a stream."
        )


def _kinds(found: Status) -> Table:
    table = Table()
    table.add_column("", overflow="fold")
    for heading in ("events", "delivered", "undelivered"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, kind in found.kinds.items():
        if kind.events:
            table.add_row(name, *_counts(*kind))
    table.add_section()
    table.add_row("all", *_counts(found.events, found.undelivered))
    return table


def _counts(events: int, undelivered: int) -> tuple[str, str, str]:
    return f"{events:,}", f"{events - undelivered:,}", f"{undelivered:,}"


def _lines(found: Status) -> str:
    highest = "none" if found.highest_number is None else f"{found.highest_number:,}"
    migration = "not recorded" if found.schema.migration is None else str(found.schema.migration)
    if found.chain_proofs is None:
        proofs = "no table for them (before v0.55)"
    else:
        proofs = f"{found.chain_proofs:,}, for {counted(found.kinds['time'].events, 'time event')}"
    return "\n".join(
        [
            f"streams         {found.streams:,}",
            f"highest number  {highest}",
            f"schema          {found.schema.version}, migration {migration}",
            f"chain proofs    {proofs}",
            f"in use          {'yes, another process has it open' if found.in_use else 'no'}",
            f"a run           {found.plan if found.undelivered else 'would find nothing to do'}",
        ]
    )


def _reasons(left: Left) -> str:
    run_state = left.run.run_state
    lines = [
        f"\nA run would deliver {counted(run_state.delivered, 'event')}.",
        f"It would leave {left.run.waiting:,} waiting{_colon(left.run.waiting)}",
        *(f"  {reason}: {count:,}" for reason, count in left.run.waiting_reasons.items()),
        f"It would reject {left.run.rejected:,}{_colon(left.run.rejected)}",
        *(f"  {reason}: {count:,}" for reason, count in left.run.rejected_reasons.items()),
    ]
    if left.missing:
        lines.append(
            f"They wait for {counted(len(left.missing), 'missing event')}, which "
            "`ceramic-order missing` lists."
        )
    if left.stuck_streams:
        lines.append("\nThe streams with the most events that would be left:")
    return "\n".join(lines)


def _stuck(stream: StuckStreamDocument) -> list[str]:
    """What is known of a stuck stream; the last CID is one to ask `why` about."""
    lines = [
        f"  {stream['stream']}: {counted(stream['events'], 'event')}, {stream['reason']}",
        f"    because of {stream['cause']}",
    ]
    if stream["waits"] is not None:
        lines.append(f"    one that waits: {stream['waits']}")
    return lines


def _colon(count: int) -> str:
    """How a line ends: with a colon where reasons follow."""
    return ":" if count else "."
