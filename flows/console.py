"""Where words go: data to stdout, the story to stderr."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import click
from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


@cache
def story() -> Console:
    """The console on stderr. FORCE_COLOR must not turn on live displays where stderr is no terminal."""
    return Console(stderr=True, force_interactive=sys.stderr.isatty(), soft_wrap=True)


@cache
def output() -> Console:
    """The console on stdout, for tables that a person reads."""
    return Console()


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout: the whole output of a command under `--json`."""
    click.echo(json.dumps(document, indent=2))


def output_options(command: Command) -> Command:
    """The two options that every command has."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)
    return click.option("-q", "--quiet", is_flag=True, help="No progress and no story on stderr, only errors.")(command)
