"""The summary of a run or a replay, as a table for people."""

from collections.abc import Mapping

from rich.table import Table

from connectors.run_state import WRONG_NOTES, RunState
from flows.jobs.run_result import RunResult
from flows.terminal.console import print_message
from flows.terminal.words import counted


def summary_table(result: RunResult, more: Mapping[str, str], *, is_dry: bool = False) -> Table:
    """What was read, and what became of it: each count with its own reasons below it.

    `more` are further rows, by name.
    """
    run_state = result.run_state
    table = Table(
        title="Dry run, nothing was written" if is_dry else None,
        show_header=False,
        title_justify="left",
    )
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_row("discovered", f"{run_state.discovered:,}")
    table.add_row("would be delivered" if is_dry else "delivered", f"{run_state.delivered:,}")
    if run_state.first_number is not None:
        table.add_row("numbers", f"{run_state.first_number:,} to {run_state.last_number:,}")
    for name, count, reasons in (
        ("waiting", result.waiting, result.waiting_reasons),
        ("rejected", result.rejected, result.rejected_reasons),
    ):
        table.add_row(name, f"{count:,}")
        for reason, events in reasons.items():
            table.add_row(f"  {reason}", f"{events:,}")
    for name, value in more.items():
        table.add_row(name, value)
    return table


def print_wrong_notes(run_state: RunState) -> None:
    """Say how many parents the node had noted under another stream than their blocks say."""
    count = len(run_state.wrong_notes)
    if count:
        more = " or more" if count == WRONG_NOTES else ""
        print_message(
            f"For {counted(count, 'delivered event')}{more} the column `init_cid` names another "
            "stream than the event's blocks do. The blocks were believed."
        )
