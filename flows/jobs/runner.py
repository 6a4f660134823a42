"""Runs a flow in this process the way a command needs it: quiet, stoppable, and with one error instead of a backtrace."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from connectors.errors import CeramicOrderError, InterruptedRunError
from connectors.run_state import Tally
from flows.terminal.signals import Finish

EPOCH = timedelta(seconds=15)
"""How long events may wait for a batch to fill: at its end the flow pauses until the sink has
written. In less time no batch of rows in random order is full, and all its pages are written
more often."""

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from another: a tenth of the usual, because the
threads that read and write need it often but shortly. A run took 4 % less time."""

LAST_BATCH_SECONDS = 1.0
"""How long a signal lets the batch that is being written come to its end."""


def batches_kept(tally: Tally) -> str:
    """What a stopped run leaves."""
    return (
        f"`{tally.delivered}` events in `{tally.batches}` whole batches are delivered and kept. Run the same command again to finish the "
        "job."
    )


def nothing_changed(tally: Tally) -> str:  # noqa: ARG001 # as `batches_kept`
    """What a stopped command that only reads leaves."""
    return "nothing was changed. Run the same command again."


def run_flow(
    flow: Dataflow,
    tally: Tally,
    *,
    workers: int,
    partitions: int,
    kept: Callable[[Tally], str] = batches_kept,
) -> None:
    """Run a flow to the end of its input.

    Raises:
        InterruptedRunError: what stopped it, and what is `kept`.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with _captured_stderr() as captured:
        try:
            cli_main(flow, workers_per_process=workers, epoch_interval=EPOCH)  # type: ignore[no-untyped-call] # Bytewax's stub
        except BaseException as error:
            cause = tally.failure or _first_cause(error)
            what = str(cause) if isinstance(cause, CeramicOrderError) else _defect(cause, captured)
            raise interrupted(what, tally, kept) from error
    if tally.failure is not None:
        raise interrupted(str(tally.failure), tally, kept)
    left = tally.reasons.total()
    if tally.partitions_read != partitions or tally.discovered != tally.delivered + left:
        what = f"The flow ended early: `{tally.discovered}` events were read, `{tally.delivered}` delivered, `{left}` left with a reason."
        raise interrupted(what, tally, kept)


def interrupted(what: str, tally: Tally, kept: Callable[[Tally], str]) -> InterruptedRunError:
    """The error for `what` stopped a run, with what is `kept`."""
    # a batch that the writing thread has begun comes to its end before anything is counted
    with tally.writing:
        end = kept(tally)
    return InterruptedRunError(f"{what} {end[0].upper()}{end[1:]}")


def _first_cause(error: BaseException) -> BaseException:
    """What a step raised: our own error, or else the first of the chain."""
    while error.__cause__ is not None and not isinstance(error, CeramicOrderError):
        error = error.__cause__
    return error


def _defect(cause: BaseException, captured: Callable[[], bytes]) -> str:
    with tempfile.NamedTemporaryFile(prefix="ceramic-order-", suffix=".log", delete=False) as log:
        log.write(captured())
    said = str(cause).splitlines()[0] if str(cause) else "no message"
    return (
        f"The flow stopped on an unexpected `{type(cause).__name__}`: {said}. This is a defect of ceramic-order: please report it with "
        f"the file `{log.name}`."
    )


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], bytes]]:
    """Keep what Bytewax's panics print off the terminal; everything that Python prints still goes there."""
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with (
        tempfile.TemporaryFile() as sink,
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


def finish_by(
    tally: Tally, release: Callable[[], None], kept: Callable[[Tally], str] = batches_kept
) -> Finish:
    """For `stopped_by_signals`: let the batch that is being written come to its end, release what is held, and tell what is kept."""

    def finish() -> str:
        # held until the process ends, so that no further batch is begun
        tally.writing.acquire(timeout=LAST_BATCH_SECONDS)
        release()
        return kept(tally)

    return finish
