"""How a flow under `python -m bytewax.run` ends: checked, with one line and an exit code."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from connectors.claim import Claim
from connectors.errors import DefectError, InterruptedRunError
from connectors.run_state import RunState
from flows.jobs.completeness import checkpoint, require_all_seen
from flows.jobs.invocation import under_bytewax
from flows.jobs.runner import (
    Kept,
    batches_kept,
    captured_stderr,
    error_of,
    first_cause,
    require_complete,
)
from flows.terminal.console import print_error, print_message

INCOMPLETE = 1
"""The exit code of a flow that did not do all its work; Bytewax's own, too."""


@dataclass
class Ending:
    """What becomes of a flow when its process ends.

    Bytewax calls nothing of ours when a flow has ended, and its exit code 0 does not mean that the
    input was read.
    """

    run_state: RunState
    complete: Callable[[], str]
    """Checks and finishes the result if no step has failed; what there is to say."""
    close: Callable[[], None]
    """Closes everything, whatever has happened."""
    kept: Kept = batches_kept
    """Says what a flow that stopped midway has kept or changed."""
    _captured: ExitStack = field(default_factory=ExitStack)
    _printed: Callable[[], bytes] = bytes

    def register(self) -> None:
        """Be called when this process ends, and show nothing that Bytewax prints until then."""
        if under_bytewax():
            self._printed = self._captured.enter_context(captured_stderr())
            # a sentence says it instead
            sys.excepthook = lambda *_: None
        atexit.register(self._end)

    def _end(self) -> None:
        """Complete what the flow did, and say it in one line on stderr."""
        failed = self._failed()
        if failed is None:
            self._captured.close()
            return
        if isinstance(first_cause(failed), KeyboardInterrupt):
            failed = InterruptedRunError("Interrupted", retry=True)
        error = error_of(failed, self.run_state, self.kept, self._printed())
        self._captured.close()
        print_error(error, as_json=False)
        # an interrupt keeps its own exit code
        if not isinstance(_uncaught(), KeyboardInterrupt):
            _end_process(error.exit_code if isinstance(error, DefectError) else INCOMPLETE)

    def _failed(self) -> BaseException | None:
        """Complete the result if nothing has failed, and close everything; what went wrong."""
        failed = self.run_state.failure or _uncaught()
        said = None
        try:
            try:
                if failed is None:
                    said = self.complete()
            finally:
                self.close()
        except Exception as cause:  # noqa: BLE001 # nobody above would show it
            failed = failed or cause
        if said is not None:
            print_message(said)
        return failed


def _uncaught() -> BaseException | None:
    """What ended the main thread, if that was an error."""
    return getattr(sys, "last_value", None)


def _end_process(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def complete_in_place(held: Claim, run_state: RunState, partitions: int) -> str:
    """Checkpoint the database that the flow has written to, and check that nothing was overlooked.

    Returns:
        What was delivered, and what was left and why.

    Raises:
        InterruptedRunError: the flow is not complete.
    """
    run_state.wal_bytes = checkpoint(held.connection, held.path, run_state)
    require_complete(run_state, partitions=partitions)
    require_all_seen(held, run_state)
    held.require_in_place()
    return f"{outcome(run_state)}."


def outcome(run_state: RunState) -> str:
    """What was delivered, and what was left and why, as a clause for people."""
    said = f"{run_state.delivered:,} events delivered"
    if run_state.first_number is not None:
        said += f", numbers {run_state.first_number:,} to {run_state.last_number:,}"
    if run_state.reasons:
        reasons = ", ".join(f"{n:,} {name}" for name, n in sorted(run_state.reasons.items()))
        said += f"; {run_state.reasons.total():,} left: {reasons}"
    if run_state.wal_bytes:
        said += (
            "; another program reads the database, "
            f"so {run_state.wal_bytes:,} bytes stay in its WAL"
        )
    if run_state.wrong_notes:
        said += f"; {len(run_state.wrong_notes):,} wrong notes of streams did not count"
    return said
