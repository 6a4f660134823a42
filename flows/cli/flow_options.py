"""The options of every command that runs the flow."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps

import click

from flows.amounts import amount
from flows.jobs.arguments import MOST_BATCH_ROWS, MOST_PARTITIONS
from flows.jobs.options import RunOptions


class _MemoryAmount(click.ParamType[int]):
    name = "amount"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return value if isinstance(value, int) else amount(str(value))
        except ValueError as cause:
            self.fail(str(cause), param, ctx)


MEMORY = _MemoryAmount()
"""An amount of memory, in bytes."""

_DEFAULTS = RunOptions()
_OPTIONS = [
    click.option(
        "--partitions",
        type=click.IntRange(1, MOST_PARTITIONS),
        default=_DEFAULTS.partitions,
        show_default="half of the cores, at most 8",
        help="Partitions that are read at the same time, each every N-th run of rows.",
    ),
    click.option(
        "--batch-rows",
        type=click.IntRange(1, MOST_BATCH_ROWS),
        help="The most events that are written in one transaction. By default all that lie in "
        "random order are, so that each page is written once.",
    ),
    click.option(
        "--memory-limit",
        type=MEMORY,
        help="Memory of the whole process, like `2GB`; the rest goes to files. By default a "
        "quarter of what there is, 512MB at least and 4GB at most.",
    ),
    click.option(
        "--check",
        type=click.Choice(["node", "links"]),
        default="node",
        show_default=True,
        help="Deliver what a node could serve, or all that has readable links.",
    ),
]


def flow_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options; the command gets them, and `quiet`, as its argument `options`."""

    @wraps(command)
    def with_options(
        *,
        partitions: int,
        batch_rows: int | None,
        memory_limit: int | None,
        check: str,
        quiet: bool,
        **rest: object,
    ) -> int:
        defaults = click.get_current_context().find_object(RunOptions) or RunOptions()
        options = replace(
            defaults,
            partitions=partitions,
            batch_rows=batch_rows,
            memory_limit=memory_limit,
            check_node=check == "node",
            quiet=quiet,
        )
        return command(options=options, **rest)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
