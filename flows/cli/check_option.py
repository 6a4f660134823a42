"""The option `--check` of the commands that check events as a run does."""

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


def check_option(command: Command) -> Command:
    """Add the option; the command gets `check`, "node" or "links"."""
    return click.option(
        "--check",
        type=click.Choice(["node", "links"]),
        default="node",
        show_default=True,
        help="Check events as `run` does with this option.",
    )(command)
