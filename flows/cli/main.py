"""The command line: loads the command that is asked for, and turns every error into one sentence and its exit code."""

import importlib
import os
import sys
from typing import NoReturn

import click

from connectors.errors import CeramicOrderError
from flows.terminal.console import open_closed_descriptors, story
from flows.terminal.signals import give_way, install

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
"""What libraries read as they are loaded. Nothing here uses the threads that numpy would start
for matrices, and with Arrow's own allocator a run took 10 to 15 % more time."""

LIBRARIES_OF = {
    "verify": LIBRARIES | {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "MIMALLOC_PURGE_DELAY": "0"}
}
"""`verify` keeps to a limit: its allocator gives memory back at once."""

UNWRITTEN = 3
"""The exit code where the job was done but its result could not be written down."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        if cmd_name not in COMMANDS:
            return None
        for variable, value in LIBRARIES_OF.get(cmd_name, LIBRARIES).items():
            os.environ.setdefault(variable, value)
        module = importlib.import_module(f"flows.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: ceramic-order run ~/.ceramic-one/db.sqlite3",
)
@click.version_option(package_name="ceramic-order", message="%(prog)s %(version)s")
def cli() -> None:
    """Order the undelivered events of a ceramic-one database: parents first, in whole batches."""


def main(defaults: object = None) -> NoReturn:
    """Run the command line and exit with a documented code; no traceback reaches the user.

    `defaults` is the object of click's context: the `RunOptions` that commands start from.
    """
    install()
    open_closed_descriptors()
    code = _run(defaults)
    give_way()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or UNWRITTEN
    # nothing is left to be cleaned up, and a signal that arrives in the interpreter's own end would
    # change the exit code
    os._exit(code)


def _run(defaults: object) -> int:
    try:
        code = cli.main(standalone_mode=False, obj=defaults)
    except CeramicOrderError as error:
        return _say(str(error), error.exit_code)
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # whoever read stdout has gone, as `head` does; the job is done and nothing more can be said
        # there
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        return _say(
            f"{error.strerror}{f': `{error.filename}`' if error.filename else ''}. What was delivered is kept.",
            UNWRITTEN,
        )
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    give_way()
    story().print(f"Error: {message}", style="red", markup=False, highlight=False)
    return code


if __name__ == "__main__":
    main()
