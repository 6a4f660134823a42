"""Where words go: results to stdout, everything else to stderr."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from connectors.errors import CeramicOrderError, InterruptedRunError

Command = TypeVar("Command", bound=Callable[..., object])

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that a terminal obeys instead of showing them, and halves of characters that it
can't show; not line feed and tab."""


WIDEST = 200
"""Columns in which every table has room."""

NARROWEST_NAMES = 10
"""The fewest columns in which the names of a table can still be read."""


def open_closed_descriptors() -> None:
    """Open /dev/null in place of stdin, stdout and stderr where they are closed.

    Cron and daemons leave them so. Otherwise a file of ours would get such a number, and what is
    printed would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def escaped(text: str) -> str:
    """`text` on one line, with every character that a terminal would obey written as an escape."""
    return _escaped_lines(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped_lines(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Console(Console):
    """Rich's console, which ends the process with exit code 1 where its pipe is closed."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@cache
def stderr_console() -> Console:
    """The console on stderr. FORCE_COLOR alone must not turn live displays on."""
    return _Console(stderr=True, force_interactive=sys.stderr.isatty(), soft_wrap=True)


@cache
def stdout_console() -> Console:
    """The console on stdout, for tables that a person reads."""
    return _Console()


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document on stdout: the whole output of a command under `--json`."""
    print_result(json.dumps(document, indent=2))


def print_result(result: str | Table) -> None:
    """Print a result on stdout: text, or a table of rich's.

    A reader of stdout that has ended, as `head` does, wants no more: that is no error.

    Raises:
        InterruptedRunError: it can't be written, though the job is done.
    """
    try:
        if isinstance(result, str):
            click.echo(_escaped_lines(result))
        else:
            _print_table(stdout_console(), result)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except OSError as cause:
        raise InterruptedRunError(
            "The job is done, but its result can't be written to stdout",
            why=f"{cause.strerror}",
            advice="Running the command again does no harm.",
        ) from cause


def _print_table(console: Console, table: Table) -> None:
    """Print a table of names and numbers. Names are folded where the terminal is narrow.

    The table is wider than a terminal that is too narrow even so: no number is ever cut.
    """
    names = table.columns[0]
    names.max_width = NARROWEST_NAMES
    least = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    names.max_width = None
    console.width = max(console.width, least)
    console.print(table)


def drop_stdout() -> None:
    """Drop everything that is printed on stdout from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


WriteLog = Callable[[str, str, Mapping[str, object]], None]
"""A function that writes one event: its level, its name, and its fields."""


class _JsonLog:
    log: WriteLog | None = None


def log_to(log: WriteLog) -> None:
    """Hand all that would be printed on stderr to `log` instead (`flows.terminal.json_log`)."""
    _JsonLog.log = staticmethod(log)


def logs_json() -> bool:
    """Whether what goes to stderr is JSON lines."""
    return _JsonLog.log is not None


def print_event(event: str, text: str, fields: Mapping[str, object]) -> None:
    """Print a line for a person, or an object with these fields where stderr is JSON lines."""
    if _JsonLog.log is not None:
        _JsonLog.log("info", event, fields)
    elif text:
        print_message(text)


def print_message(text: str, *, style: str | None = None) -> None:
    """Print lines for a person on stderr; a stderr that takes none of them is no error."""
    if _JsonLog.log is not None:
        _JsonLog.log("info", "message", {"message": text})
        return
    try:
        stderr_console().print(
            _escaped_lines(text), style=style, markup=False, highlight=False, emoji=False
        )
    except OSError:
        return


def print_removed(folders: Iterable[Path]) -> None:
    """Say that folders were removed that killed commands had left."""
    for folder in folders:
        print_message(f"Removed `{folder}`, which a command that was killed had left.")


def print_error(error: CeramicOrderError, *, as_json: bool) -> None:
    """Print an error on stderr as one line and, with `as_json`, on stdout as a document."""
    if _JsonLog.log is not None:
        _JsonLog.log("error", "error", error.to_json())
    else:
        print_message(f"Error: {escaped(str(error))}", style="red")
    if as_json:
        print_json({"error": error.to_json()})


def output_options(command: Command) -> Command:
    """Add the two options that every command has."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr but errors.")(
        command
    )
