"""`ceramic-order why`."""

from pathlib import Path

import click

from flows.jobs.why import Step, Why, why
from flows.terminal.console import output_options, print_json, print_result
from operators.encoding.cid import cid_text

SHOWN = 5
"""Events of each end of a chain that people get to see."""


@click.command("why", epilog="Example: ceramic-order why ~/.ceramic-one/db.sqlite3 bagcqcera...")
@click.argument("database", type=click.Path(path_type=Path))
@click.argument("cid")
@output_options
def command(database: Path, cid: str, *, quiet: bool, as_json: bool) -> None:
    """Say why the event CID in DATABASE is not delivered, and what to do.

    This follows its prev pointers up to what decides: a missing event, one that can't be delivered,
    or one that is delivered. CID is in base32, base36 or hex. Nothing is changed, and a node may be
    running.
    """
    found = why(database, cid)
    if as_json:
        print_json(found.to_json())
        return
    if not quiet:
        print_result("\n".join(_chain(found)) + "\n")
    print_result(f"{found.sentence}\n{found.advice}")


def _chain(found: Why) -> list[str]:
    lines = [
        f"{'' if at == 0 else 'prev '}{cid_text(step.cid)}: {_told(step)}"
        for at, step in enumerate(found.chain)
    ]
    hidden = len(lines) - 2 * SHOWN
    return lines if hidden <= 1 else [*lines[:SHOWN], f"... {hidden:,} more ...", *lines[-SHOWN:]]


def _told(step: Step) -> str:
    if step.rowid is None:
        return "not in the database"
    return f"{step.kind or 'unreadable'}, {'not delivered' if step.number is None else f'delivered as {step.number:,}'}"
