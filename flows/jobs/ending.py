"""How a flow under `python -m bytewax.run` ends: checked, with one line and an exit code."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from connectors.claim import Claim
from connectors.errors import CeramicOrderError, InterruptedRunError
from connectors.run_state import RunState
from flows.jobs.completeness import checkpoint, require_all_seen, require_none_unexplained
from flows.jobs.runner import Kept, batches_kept, first_cause, interrupted, require_complete
from flows.terminal.console import print_error, print_message
from flows.terminal.unforeseen import error_for

INCOMPLETE = 1
"""The exit code of a flow that did not do all its work; Bytewax's own, too."""


def at_exit(
    run_state: RunState,
    complete: Callable[[], str],
    *,
    close: Callable[[], None],
    kept: Kept = batches_kept,
) -> None:
    """When this process ends, complete what the flow did, and say it in one line on stderr.

    Bytewax calls nothing of ours when a flow has ended, and its exit code 0 does not mean that the
    input was read.

    Args:
        run_state: of the flow.
        complete: checks and finishes the result if no step has failed; what there is to say.
        close: closes everything, whatever has happened.
        kept: says what a flow that stopped midway has kept or changed.
    """
    atexit.register(_end, run_state, complete, close, kept)


def _end(
    run_state: RunState, complete: Callable[[], str], close: Callable[[], None], kept: Kept
) -> None:
    failed = _failed(run_state, complete, close)
    if failed is None:
        return
    error = _explained(failed, run_state, kept)
    print_error(error, as_json=False)
    # an interrupt keeps its own exit code
    if not isinstance(_uncaught(), KeyboardInterrupt):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(INCOMPLETE)


def _failed(
    run_state: RunState, complete: Callable[[], str], close: Callable[[], None]
) -> BaseException | None:
    """Complete the result if nothing has failed, and close everything; what went wrong."""
    failed = run_state.failure or _uncaught()
    said = None
    try:
        try:
            if failed is None:
                said = complete()
        finally:
            close()
    except Exception as cause:  # noqa: BLE001 # nobody above would show it
        failed = failed or cause
    if said is not None:
        print_message(said)
    return failed


def _explained(failed: BaseException, run_state: RunState, kept: Kept) -> CeramicOrderError:
    """The error to show for what went wrong."""
    failed = first_cause(failed)
    if isinstance(failed, KeyboardInterrupt):
        failed = InterruptedRunError("Interrupted", retry=True)
    if isinstance(failed, CeramicOrderError):
        return failed if failed.unchanged else interrupted(failed, run_state, kept)
    return error_for(failed, unchanged=kept(run_state))


def _uncaught() -> BaseException | None:
    """What ended the main thread, if that was an error."""
    return getattr(sys, "last_value", None)


def complete_in_place(held: Claim, run_state: RunState, partitions: int) -> str:
    """Checkpoint the database that the flow has written to, and check that nothing was overlooked.

    Returns:
        What was delivered, and what was left and why.

    Raises:
        InterruptedRunError: the flow is not complete.
    """
    run_state.wal_bytes = checkpoint(held.connection, held.path, run_state)
    if run_state.partitions_read == partitions:
        require_complete(run_state, partitions=partitions)
        require_all_seen(held, run_state)
    else:
        require_none_unexplained(held, run_state)
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
