"""`ceramic-order missing`."""

from pathlib import Path

import click

from flows.jobs.run import RunOptions
from flows.jobs.status import left
from flows.terminal.console import output_options, print_json, print_message, print_result
from flows.terminal.words import counted
from operators.schemas import Reason


@click.command(
    "missing", epilog="Example: ceramic-order missing ~/.ceramic-one/db.sqlite3 > missing.txt"
)
@click.argument("database", type=click.Path(path_type=Path))
@output_options
def command(database: Path, *, quiet: bool, as_json: bool) -> None:
    """List the events that others wait for and that DATABASE does not hold.

    Their CIDs are printed one a line, sorted.
    With them an operator can fetch the events from another node. Nothing is changed, and a node may
    be running.
    """
    found = left(database, RunOptions(quiet=quiet))
    missing = found.missing
    if as_json:
        print_json({"database": str(found.summary.database), "missing": missing})
    elif missing:
        print_result("\n".join(missing))
    if not quiet:
        waiting = found.summary.run_state.reasons[Reason.PREV_MISSING]
        waits = f"{waiting:,} {'waits' if waiting == 1 else 'wait'}"
        print_message(f"{counted(len(missing), 'missing event')}, for which {waits}")
