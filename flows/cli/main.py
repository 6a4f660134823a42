"""The command line: loads the command that is asked for.

Every error becomes one sentence and its exit code, whatever raised it.
"""

import gc
import importlib
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import click

from connectors.errors import CannotStartError, CeramicOrderError
from flows.terminal.console import (
    drop_stdout,
    open_closed_descriptors,
    print_error,
)
from flows.terminal.signals import (
    wait_if_being_stopped,
    what_is_kept,
)
from flows.terminal.unforeseen import error_for

COMMANDS = {
    "run": "Order the undelivered events of a database, in place.",
    "replay": "Run the same flow on a read-only snapshot, into Parquet files.",
    "verify": "Check every promise offline, from the blocks up.",
    "status": "Count events, streams, delivered and undelivered.",
    "why": "Say why an event is not delivered.",
    "missing": "List the missing events that others wait for.",
    "synth": "Make a synthetic database.",
}
"""Name to summary. A command is `command` in the module of its name in `flows.cli`; importing
all of them takes 0.6 s."""

LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Environment variables that libraries read as they are loaded. Nothing here uses the threads that
numpy would start for matrices, and with Arrow's own allocator a run took 10 to 15 % more time."""

LIBRARIES_OF = {
    "verify": LIBRARIES | {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "MIMALLOC_PURGE_DELAY": "0"}
}
"""`verify` keeps to a limit: its allocator gives memory back at once."""

NEVER = ("BYTEWAX_DATAFLOW_API_ENABLED",)
"""Variables that must not reach Bytewax: with this one, whatever its value, it would listen on
0.0.0.0:3030 and write `dataflow.json` into the working folder."""

THREADS = 16
"""Threads that a command can need, those of its libraries included. Where one can't be started,
some libraries abort the process and Bytewax waits for ever, so this is tried before they are
loaded. That takes 2 ms."""

PROGRAM = "ceramic-order"

COMPLETION = "_CERAMIC_ORDER_COMPLETE"
"""The variable with which a shell asks for completions."""

UNWRITTEN = 3
"""The exit code where the job was done but its result could not be written down."""


class _LazyGroup(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        for variable, value in LIBRARIES_OF.get(cmd_name, LIBRARIES).items():
            os.environ.setdefault(variable, value)
        _require_threads()
        command: click.Command = _loaded(f"flows.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise _unknown_command(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _loaded(name: str) -> ModuleType:
    """A module and all that it imports, which lives as long as the process.

    So it is not searched for cycles: not while it is loaded, a twelfth of that time, nor later.
    """
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _require_threads() -> None:
    """Check that as many threads can be started as a command may need.

    Raises:
        RuntimeError: they can't.
    """
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(THREADS)]
    try:
        for thread in threads:
            thread.start()
    finally:
        end.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _unknown_command(name: str) -> CannotStartError:
    import difflib  # noqa: PLC0415 # seldom needed

    nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    return CannotStartError(
        f"There is no command `{name}`",
        advice=f"Did you mean `{PROGRAM} {nearest[0]}`?"
        if nearest
        else f"The commands are `{'`, `'.join(COMMANDS)}`.",
    )


def _print_versions(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the versions, this program's first, and end."""
    if not wanted or ctx.resilient_parsing:
        return
    from flows.jobs.versions import versions  # noqa: PLC0415 # seldom wanted
    from flows.terminal.console import print_result  # noqa: PLC0415 # likewise

    found = versions()
    lines = [f"{PROGRAM} {found.pop(PROGRAM)}"]
    print_result("\n".join(lines + [f"  {name} {version}" for name, version in found.items()]))
    ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: ceramic-order run ~/.ceramic-one/db.sqlite3",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of this program and of its libraries.",
)
def cli() -> None:
    """Order the undelivered events of a ceramic-one database: parents first, in whole batches."""


def main(defaults: object = None) -> NoReturn:
    """Run the command line and exit with a documented code; no traceback reaches the user.

    `defaults` is the object of click's context: the `RunOptions` that commands start from.
    """
    open_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        # a file name need not be text
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a text file's
    # a mask that takes the owner's rights would lock a command out of its own files
    os.umask(os.umask(0o077) & 0o077)
    for variable in NEVER:
        os.environ.pop(variable, None)
    code = _exit_code_of(sys.argv[1:], defaults)
    wait_if_being_stopped()
    if (scratch := sys.modules.get("connectors.scratch")) is not None:
        scratch.remove_all()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or UNWRITTEN
    # nothing is left to be cleaned up, and a signal that arrives in the interpreter's own end would
    # change the exit code
    os._exit(code)


def _exit_code_of(arguments: list[str], defaults: object) -> int:
    try:
        return _run(arguments, defaults)
    except click.exceptions.Exit as end:  # of `--help` and `--version`
        return end.exit_code
    except BrokenPipeError:
        # the program that read stdout has ended; the job is done
        drop_stdout()
        return 0
    except BaseException as cause:  # noqa: BLE001 # nothing passes this
        return _reported(cause, as_json="--json" in arguments)


def _run(arguments: list[str], defaults: object) -> int:
    """Run one command. Not by click's `main`, which ends with exit code 1 on a closed pipe."""
    if os.environ.get(COMPLETION):
        return _complete(os.environ[COMPLETION])
    _require_folder()
    with cli.make_context(PROGRAM, arguments, obj=defaults) as context:
        code = cli.invoke(context)
    return code if isinstance(code, int) else 0


def _require_folder() -> None:
    """Check that the current folder is there: libraries ask for it, for absolute names too.

    Raises:
        CannotStartError: it was removed.
    """
    try:
        Path.cwd()
    except OSError as cause:
        raise CannotStartError(
            "The current folder can't be used",
            why=cause.strerror,
            advice="Change to a folder that exists.",
        ) from cause


def _complete(instruction: str) -> int:
    """Print what a shell asked for: completions, or what installs them."""
    from click.shell_completion import shell_complete  # noqa: PLC0415 # seldom wanted

    if shell_complete(cli, {}, PROGRAM, COMPLETION, instruction):
        raise CannotStartError(
            f"There are no completions of the kind `{instruction}`",
            why=f"the variable `{COMPLETION}` asks for them",
            advice="Unset it, or give it a value like `bash_source`.",
        )
    return 0


def _reported(cause: BaseException, *, as_json: bool) -> int:
    """Say what stopped the command, and give its exit code."""
    wait_if_being_stopped()
    error = _error_of(cause)
    with suppress(CeramicOrderError):  # stdout takes no document; stderr had the sentence
        print_error(error, as_json=as_json)
    return error.exit_code


def _error_of(cause: BaseException) -> CeramicOrderError:
    if isinstance(cause, CeramicOrderError):
        return cause
    if isinstance(cause, click.ClickException):
        usage = cause.ctx if isinstance(cause, click.UsageError) else None
        return CannotStartError(
            cause.format_message().rstrip("."),
            advice=f"See `{usage.command_path if usage else PROGRAM} --help`.",
        )
    return error_for(cause, unchanged=what_is_kept())


if __name__ == "__main__":
    main()
