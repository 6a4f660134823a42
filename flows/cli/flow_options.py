"""The options of every command that runs the flow."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from flows.jobs.run import RunOptions

_DEFAULTS = RunOptions()
_OPTIONS = [
    click.option(
        "--partitions",
        type=click.IntRange(1, 256),
        default=_DEFAULTS.partitions,
        show_default=True,
        help="Readers, each of every N-th run of rows.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 64),
        default=_DEFAULTS.workers,
        show_default=True,
        help="Bytewax worker threads.",
    ),
    click.option(
        "--batch-rows",
        type=click.IntRange(1, 10_000_000),
        default=_DEFAULTS.batch_rows,
        show_default=True,
        help="Events that are written together at the most.",
    ),
    click.option(
        "--shards",
        type=click.IntRange(1, 65_536),
        default=_DEFAULTS.shards,
        show_default=True,
        help="Groups of streams.",
    ),
    click.option(
        "--check",
        type=click.Choice(["node", "links"]),
        default="node",
        show_default=True,
        help="Deliver what a node could serve, or whatever has readable links.",
    ),
]


def flow_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options; the command gets them, and whether to be quiet, as its argument `options`."""

    @wraps(command)
    def with_options(
        *,
        partitions: int,
        workers: int,
        batch_rows: int,
        shards: int,
        check: str,
        quiet: bool,
        **others: Any,
    ) -> int:
        options = RunOptions(
            partitions, workers, shards, batch_rows, check_node=check == "node", quiet=quiet
        )
        return command(options=options, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
