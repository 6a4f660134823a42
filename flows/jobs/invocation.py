"""How `python -m bytewax.run` was started, as far as a flow must know it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bytewax import run as runner

from connectors.errors import CannotStartError, CeramicOrderError
from flows.terminal.console import print_error
from flows.terminal.unforeseen import error_for

API = "BYTEWAX_DATAFLOW_API_ENABLED"
"""With this variable Bytewax listens on 0.0.0.0:3030 and writes `dataflow.json` into the working
folder, whatever its value."""

NO = {"", "0", "false", "no", "off"}
"""Values that don't ask for it."""

MOST_WORKERS = 256
"""The most threads of one process: Bytewax starts as many as it is asked for, and does no
work with too many."""


@dataclass(frozen=True)
class Invocation:
    """What the runner was given; the defaults are those of a flow that runs in one process."""

    process: int = 0
    """The number of this process (`-i`), from 0 on."""
    addresses: tuple[str, ...] = ()
    """Of all processes of a cluster (`-a`), each `host:port`; empty: there is one process."""
    workers: int = 1
    """Worker threads of each process (`-w`)."""

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return max(1, len(self.addresses))


def under_bytewax() -> bool:
    """Whether this process is `python -m bytewax.run`, and no program that calls it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "bytewax.run"


def read_invocation() -> Invocation:
    """What `python -m bytewax.run` was given; in another program: one process.

    Raises:
        CannotStartError: it was given a recovery store, no possible number of workers, or a number
            and addresses that don't fit.
    """
    if not under_bytewax():
        return Invocation()
    given = runner._parse_args()  # type: ignore[no-untyped-call] # noqa: SLF001 # as it has read it
    if given.recovery_directory is not None:
        raise CannotStartError(
            f"Can't use the recovery store `{given.recovery_directory}`",
            why="what is undelivered stands in the database itself",
            advice="Run without it (`-r`): every run goes on where the last one ended.",
        )
    addresses = tuple(given.addresses.split(";")) if given.addresses else ()
    if given.process_id is None and addresses:
        raise CannotStartError(
            "This process of a cluster has no number",
            why="there are addresses (`-a`), but no `-i`",
            advice="Give each process its place in the list of addresses: `-i 0`, `-i 1`.",
        )
    process = given.process_id or 0
    if not 0 <= process < max(1, len(addresses)):
        raise CannotStartError(
            f"There is no address for process `{process}`",
            why=f"`-a` names `{len(addresses)}`",
            advice="Numbers (`-i`) start at 0. The addresses stand between semicolons, in quotes.",
        )
    workers = 1 if given.workers_per_process is None else given.workers_per_process
    if not 1 <= workers <= MOST_WORKERS:
        raise CannotStartError(
            f"`{workers}` workers (`-w`) are none that could work",
            why=f"each process has from `1` to `{MOST_WORKERS}`",
        )
    if process or os.environ.get(API, "").lower() in NO:
        # Bytewax reads it when the flow starts
        os.environ.pop(API, None)
    return Invocation(process, addresses, workers)


def require_one_process(invocation: Invocation) -> None:
    """Check that this process is not one of a cluster.

    Raises:
        CannotStartError: it is.
    """
    if invocation.processes > 1:
        raise CannotStartError(
            "A replay can't be made by a cluster",
            why=f"`-a` names `{invocation.processes}` processes",
            advice="Run it in one process, with several workers (`-w 2`) if you like.",
        )


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Under `python -m bytewax.run` end with a sentence where the block fails; elsewhere raise.

    Raises:
        SystemExit: with the exit code of the error that was shown.
    """
    try:
        yield
    except Exception as cause:
        if not under_bytewax():
            raise
        error = cause if isinstance(cause, CeramicOrderError) else error_for(cause)
        print_error(error, as_json=False)
        raise SystemExit(error.exit_code) from None
