"""`ceramic-order missing`."""

from pathlib import Path
from shlex import quote

import click

from flows.cli.check_option import check_option
from flows.cli.paths import PATH
from flows.jobs.left import left
from flows.jobs.options import RunOptions
from flows.terminal.console import output_options, print_json, print_message, print_result
from flows.terminal.words import counted
from operators.schemas import Reason

BRING_IN = (
    "Each file then holds `id` and `data`. Once your node is started, post the `data` of each to "
    'its /ceramic/events, as JSON: {"data": ...}. Nothing was sent.'
)
"""What to do with what these requests bring."""


@click.command(
    "missing", epilog="Example: ceramic-order missing ~/.ceramic-one/db.sqlite3 > missing.txt"
)
@click.argument("database", type=PATH)
@check_option
@click.option(
    "--curl",
    "node",
    metavar="URL",
    help="Print the requests that fetch them from the node at URL, like `http://localhost:5101`.",
)
@output_options
def command(database: Path, *, check: str, node: str | None, quiet: bool, as_json: bool) -> None:
    """List the events that others wait for and that DATABASE does not hold.

    Their CIDs are printed one a line, sorted, or with --curl a request for each. Nothing is sent.
    With them an operator can fetch the events from another node. Nothing is changed, and a node may
    be running.
    """
    found = left(database, RunOptions(quiet=quiet, check_node=check == "node"))
    missing = found.missing
    requests = [] if node is None else [request(node, cid) for cid in missing]
    if as_json:
        document = {"database": str(found.run.database), "missing": missing}
        print_json(document if node is None else document | {"requests": requests})
    elif missing:
        print_result("\n".join(missing if node is None else requests))
    if not quiet:
        waiting = found.run.run_state.reasons[Reason.PREV_MISSING]
        waits = f"{waiting:,} {'waits' if waiting == 1 else 'wait'}"
        print_message(f"{counted(len(missing), 'missing event')}, for which {waits}")
        if requests:
            print_message(BRING_IN)


def request(node: str, cid: str) -> str:
    """The command that fetches an event from the node at this address into a file of its CID.

    See FORMAT.md, What a node serves over HTTP.
    """
    address = f"{node.rstrip('/')}/ceramic/events/{cid}"
    return f"curl --fail --silent --show-error --output {cid}.json {quote(address)}"
