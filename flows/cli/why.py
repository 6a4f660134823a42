"""`ceramic-order why`."""

from pathlib import Path

import click

from flows.cli.check_option import check_option
from flows.cli.paths import PATH
from flows.jobs.why import why
from flows.jobs.why_result import Step, Why
from flows.terminal.console import output_options, print_json, print_result
from operators.encoding.cid import cid_text

SHOWN = 5
"""How many events of each end of a chain are printed."""


@click.command("why", epilog="Example: ceramic-order why ~/.ceramic-one/db.sqlite3 bagcqcera...")
@click.argument("database", type=PATH)
@click.argument("event")
@check_option
@output_options
def command(database: Path, event: str, *, check: str, quiet: bool, as_json: bool) -> None:
    """Say why EVENT in DATABASE is not delivered, and what to do.

    This follows its prev pointers up to what decides: a missing event, one that can't be delivered,
    or one that is delivered. EVENT is a CID, a StreamID or CommitID (k...), an event id in hex,
    ipfs:// and a CID, or X'...'. Of a stream's init event it also says what the rest of the stream
    waits for. Nothing is changed, and a node may be running.
    """
    found = why(database, event, check_node=check == "node")
    if as_json:
        print_json(found.to_json())
        return
    if not quiet:
        print_result("\n".join(_chain(found)) + "\n")
    print_result(f"{found.sentence}\n{found.advice}")


def _chain(found: Why) -> list[str]:
    lines = [
        f"{'' if at == 0 else 'prev '}{cid_text(step.cid)}: {_state(step)}"
        for at, step in enumerate(found.chain)
    ]
    hidden = len(lines) - 2 * SHOWN
    return lines if hidden <= 1 else [*lines[:SHOWN], f"... {hidden:,} more ...", *lines[-SHOWN:]]


def _state(step: Step) -> str:
    if step.rowid is None:
        return "not in the database"
    number = "not delivered" if step.number is None else f"delivered as {step.number:,}"
    return f"{step.kind or 'unreadable'}, {number}"
