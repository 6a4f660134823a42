"""Runs a flow in this process as a command needs it: quiet, stoppable, with one error at most."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, TypeAlias

from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from connectors.errors import (
    NOTHING_CHANGED,
    CeramicOrderError,
    InterruptedRunError,
)
from connectors.run_state import RunState
from flows.terminal.signals import Finish, batch_seconds
from flows.terminal.unforeseen import error_for
from operators.spill import SpillError

EPOCH = timedelta(days=10_000)
"""Longer than any run, so that there is one epoch. At its end the sink writes what it holds, and if
rows are still to come then, pages are written twice. Only Bytewax's recovery needs more epochs."""

SWITCH_SECONDS = 0.0005
"""After so long a thread hands the interpreter to another that waits: a tenth of the usual, because
the threads that read and write need it often and for moments. A run took 4 % less time."""


Kept: TypeAlias = Callable[[RunState], str]
"""Says what a command that stopped midway has kept or changed, as whole sentences."""


def batches_kept(run_state: RunState) -> str:
    """What a stopped run leaves."""
    events, batches = run_state.delivered, run_state.batches
    said = f"{_counted(events, 'event')} in {_counted(batches, 'whole batch', 'whole batches')}"
    return f"{said} {'is' if events == 1 else 'are'} delivered and kept."


def _counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, as errors say it: the value in backticks."""
    return f"`{number}` {noun if number == 1 else plural or noun + 's'}"


def nothing_changed(run_state: RunState) -> str:  # noqa: ARG001 # as `batches_kept`
    """What a stopped command that only reads leaves."""
    return NOTHING_CHANGED


def run_flow(
    flow: Dataflow,
    run_state: RunState,
    *,
    partitions: int,
    kept: Kept = batches_kept,
) -> None:
    """Run a flow to the end of its input.

    Raises:
        InterruptedRunError: what stopped it, and what is `kept`.
        DefectError: it stopped on something that nobody has foreseen.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with captured_stderr() as captured:
        try:
            cli_main(flow, epoch_interval=EPOCH)  # type: ignore[no-untyped-call] # Bytewax's stub
        except BaseException as error:
            cause = run_state.failure or error
            raise error_of(cause, run_state, kept, captured()) from error
    if isinstance(run_state.failure, CeramicOrderError):
        raise interrupted(run_state.failure, run_state, kept)
    require_complete(run_state, partitions=partitions, kept=kept)


def require_complete(run_state: RunState, *, partitions: int, kept: Kept = batches_kept) -> None:
    """Check that every partition was read, and that each event was delivered or left with a reason.

    Raises:
        InterruptedRunError: the flow ended before its input did; its parts say what is `kept`.
    """
    left = run_state.reasons.total()
    if (
        run_state.partitions_read != partitions
        or run_state.discovered != run_state.delivered + left
    ):
        what = "The flow ended before its input did"
        why = (
            f"`{run_state.discovered}` events were read, `{run_state.delivered}` delivered, "
            f"`{left}` left with a reason"
        )
        raise interrupted(InterruptedRunError(what, why=why, retry=True), run_state, kept)


def interrupted(error: CeramicOrderError, run_state: RunState, kept: Kept) -> InterruptedRunError:
    """The error that stopped a run, with what is `kept`."""
    # a batch that the writing thread has started comes to its end before anything is counted
    with run_state.writing:
        unchanged = kept(run_state)
    return InterruptedRunError(
        error.what, why=error.why, unchanged=unchanged, advice=error.advice, retry=error.retry
    )


def error_of(
    cause: BaseException, run_state: RunState, kept: Kept, printed: bytes
) -> CeramicOrderError:
    """The error to show for what stopped a flow, with what is `kept`.

    Args:
        cause: what was raised, or noted by the run state.
        run_state: of the flow.
        kept: says what a flow that stopped midway has kept or changed.
        printed: what libraries wrote to stderr before.
    """
    cause = first_cause(cause)
    if isinstance(cause, SpillError):
        cause = InterruptedRunError(
            f"Can't keep waiting events in `{cause.filename}`",
            why=cause.strerror,
            advice="Make room there, or set TMPDIR to a folder on another disk.",
            retry=True,
        )
    if isinstance(cause, CeramicOrderError):
        return interrupted(cause, run_state, kept)
    return error_for(cause, unchanged=kept(run_state), printed=printed)


def first_cause(error: BaseException) -> BaseException:
    """What a step raised: our own error, or else the first in the chain of causes."""
    while error.__cause__ is not None and not isinstance(error, CeramicOrderError | SpillError):
        error = error.__cause__
    return error


@contextmanager
def captured_stderr() -> Iterator[Callable[[], bytes]]:
    """Keep what Bytewax's panics print off the terminal; what Python prints still goes there."""
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with (
        _unnamed_file() as sink,
        os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace") as direct,
    ):
        sys.stderr = direct
        os.dup2(sink.fileno(), 2)

        def captured() -> bytes:
            sink.seek(0)
            return sink.read()

        try:
            yield captured
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            sys.stderr = python_stderr


def _unnamed_file() -> IO[bytes]:
    """A file in memory where there can be one: a run needs no temporary folder."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


def finish_by(
    run_state: RunState,
    release: Callable[[], None],
    kept: Kept = batches_kept,
) -> Finish:
    """For `stopped_by_signals`: what ends a run, and what it then says.

    The batch that is being written comes to its end, and what is held is released.
    """

    def finish() -> str:
        # held until the process ends, so that no further batch starts
        run_state.writing.acquire(timeout=batch_seconds())
        release()
        return kept(run_state)

    return finish
