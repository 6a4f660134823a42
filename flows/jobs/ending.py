"""How a flow under `python -m bytewax.run` ends: checked, with one line and an exit code."""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from types import FrameType

from connectors.claim import Claim
from connectors.errors import CeramicOrderError, DefectError, InterruptedRunError
from connectors.run_state import RunState
from connectors.scratch import remove_all_for_good
from flows.cluster.cluster import ANEW, Cluster
from flows.cluster.database import Opened
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
from flows.terminal.signals import LAST_BATCH_SECONDS, STOPS
from flows.terminal.words import counted

INCOMPLETE = 1
"""The exit code of a flow that did not do all its work, and Bytewax's own: whoever runs flows by it
need not know ours. There `ceramic-order run` exits 3."""

POLL_SECONDS = 0.5
"""How often a process of a cluster looks whether a step of it has failed."""

LATEST_SECONDS = 5.0
"""How long Bytewax may take to end the flow after a step has failed."""


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
    release: Callable[[], None] = lambda: None
    """Lets others in, where the process must end at once."""
    cluster: Cluster | None = None
    """Ends this process with the others."""
    _captured: ExitStack = field(default_factory=ExitStack)
    _printed: Callable[[], bytes] = bytes
    _lock: Lock = field(default_factory=Lock)
    """Whoever has it ends the process: the main thread, or the one that listens to the others."""

    def register(self) -> None:
        """Call `_end` when this process ends, and show nothing that Bytewax prints until then."""
        if under_bytewax():
            self._printed = self._captured.enter_context(captured_stderr())
            # a sentence says it instead
            sys.excepthook = lambda *_: None
        atexit.register(self._end)
        if self.cluster is not None and self.cluster.has_others:
            self.cluster.watch(self._stop)
            Thread(target=self._guard, name="guard", daemon=True).start()
            for number in STOPS:
                # a signal that is ignored stays so: in the background, and SIGHUP under `nohup`
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._stop_by_signal)

    def _end(self) -> None:
        """Complete what the flow did, and say it in one line on stderr."""
        if self._is_ended_by_others():
            Event().wait()
        self._lock.acquire()
        failed = self._failed()
        if failed is None:
            self._captured.close()
            if self.cluster is not None:
                self.cluster.close()
            return
        if isinstance(first_cause(failed), KeyboardInterrupt):
            failed = InterruptedRunError("Interrupted", retry=True)
        error = error_of(failed, self.run_state, self.kept, self._printed())
        self._show(error)
        if self.cluster is not None:
            self.cluster.fail(error)
        # an interrupt keeps its own exit code
        if not isinstance(_uncaught(), KeyboardInterrupt):
            _end_process(error.exit_code if isinstance(error, DefectError) else INCOMPLETE)

    def _is_ended_by_others(self) -> bool:
        """Whether Bytewax has panicked because another process has ended.

        The thread that listens to the others then ends this process.
        """
        failed = self.run_state.failure is None and _uncaught() is not None
        return failed and self.cluster is not None and self.cluster.cause() is not None

    def _guard(self) -> None:
        """End the process if Bytewax does not, where a step has failed."""
        while self.run_state.failure is None:
            time.sleep(POLL_SECONDS)
        time.sleep(LATEST_SECONDS)
        failed = self.run_state.failure
        self._stop(error_of(failed, self.run_state, self.kept, self._printed()))

    def _stop_by_signal(self, number: int, _: FrameType | None) -> None:
        """End the process: on an interrupt Bytewax would wait for the others, and they for it."""
        name = signal.Signals(number).name
        self._stop(InterruptedRunError(f"Stopped by `{name}`", advice=ANEW), 128 + number)

    def _stop(self, cause: CeramicOrderError, code: int = INCOMPLETE) -> None:
        """End the process at once, whatever it is doing, and the others with it."""
        if not self._lock.acquire(blocking=False):
            return
        if self.cluster is not None:
            self.cluster.fail(cause)
        # held until the end, so that no further batch starts
        self.run_state.writing.acquire(timeout=LAST_BATCH_SECONDS)
        self.release()
        remove_all_for_good()
        self._show(cause.replaced(unchanged=self.kept(self.run_state)))
        _end_process(code)

    def _show(self, error: CeramicOrderError) -> None:
        self._captured.close()
        print_error(error, as_json=False)

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


def kept_elsewhere(run_state: RunState) -> str:  # noqa: ARG001 # as `batches_kept`
    """What a stopped process leaves that does not write itself."""
    return "What process 0 has delivered is kept."


def complete_cluster(opened: Opened, run_state: RunState) -> str:
    """Complete what all processes did: process 0 checks it, and the others wait for what it says.

    Returns:
        What was delivered, and what was left and why.

    Raises:
        InterruptedRunError: the flow is not complete, or another process has ended.
    """
    cluster = opened.cluster
    if opened.held is None:
        return _wait_for_first(opened, run_state)
    for counts in cluster.wait_for_ends():
        run_state.add_discovered(counts["discovered"])
        run_state.partitions_read += counts["partitions_read"]
        run_state.add_wrong_notes(map(bytes.fromhex, counts["wrong_notes"]))
    said = complete_in_place(opened.held, run_state, opened.partitions)
    cluster.end({"said": said})
    return said


def _wait_for_first(opened: Opened, run_state: RunState) -> str:
    if opened.reader is not None:
        opened.reader.require_unchanged()
    opened.cluster.end(
        {
            "discovered": run_state.discovered,
            "partitions_read": run_state.partitions_read,
            "wrong_notes": [cid.hex() for cid in run_state.wrong_notes],
        }
    )
    (first,) = opened.cluster.wait_for_ends()
    read = counted(run_state.discovered, "event")
    return f"{read} read for process 0, which says: {first['said']}"


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
    said = f"{counted(run_state.delivered, 'event')} delivered"
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
        said += f"; {counted(len(run_state.wrong_notes), 'wrong note')} of streams did not count"
    return said
