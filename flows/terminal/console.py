"""Where words go: data to stdout, the story to stderr."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import click
from rich.console import Console

from connectors.errors import InterruptedRunError

Command = TypeVar("Command", bound=Callable[..., Any])


def open_closed_descriptors() -> None:
    """Open /dev/null in place of stdin, stdout and stderr that are closed, as cron and daemons leave them.

    Otherwise a file of ours would get such a number, and be written over by whoever prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


@cache
def story() -> Console:
    """The console on stderr. FORCE_COLOR must not turn on live displays where stderr is no terminal."""
    return Console(stderr=True, force_interactive=sys.stderr.isatty(), soft_wrap=True)


class _Output(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@cache
def output() -> Console:
    """The console on stdout, for tables that a person reads."""
    return _Output()


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout: the whole output of a command under `--json`."""
    say(json.dumps(document, indent=2))


def say(result: Any) -> None:
    """Print a result, text or anything that rich renders, on stdout.

    Raises:
        InterruptedRunError: it can't be written, though the job is done.
    """
    try:
        if isinstance(result, str):
            click.echo(result)
        else:
            output().print(result)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as cause:
        raise InterruptedRunError(
            "The job is done, but its result can't be written to stdout",
            why=f"{cause.strerror}",
            advice="Running the command again does no harm.",
        ) from cause


def output_options(command: Command) -> Command:
    """The two options that every command has."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)
    return click.option(
        "-q", "--quiet", is_flag=True, help="No progress and no story on stderr, only errors."
    )(command)
