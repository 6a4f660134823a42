"""Signals that stop a command end it with one line and exit code 128 + their number.

They do so at whatever moment they arrive. Any stop leaves whole batches, so there is nothing to
unwind: a thread of ours waits for the signal, says its line and ends the process, whatever the
other threads are doing. This module imports little, so that it is ready before anything else is
loaded.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""SIGHUP comes when a terminal is closed, SIGQUIT from Ctrl-\\."""

Finish = Callable[[], str]
"""Brings what is under way to its end, within two seconds, and says what is kept, as whole
sentences."""

JOB_DONE = "The job itself is done."
"""What is kept where something fails after the job, as writing its summary."""

LATEST_SECONDS = 1.9
"""Seconds after which the process ends whatever happens."""

OWN_END_SECONDS = 1.2
"""Seconds that a job has to end by itself after a signal; then the process ends."""

LAST_BATCH_SECONDS = 1.0
"""How long a signal lets the batch that is being written come to its end."""

LATE_BATCH_SECONDS = 0.3
"""The same for a job that had time to end by itself."""

SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"
"""Clears the line of a live display and shows the cursor that it hid."""


class _Stop:
    finish: Finish = staticmethod(lambda: "Nothing was changed.")
    retry = False
    """Whether running the same command again finishes the job."""
    installed = False
    number: int | None = None
    """The signal that is ending the process."""
    wanted: threading.Event | None = None
    """Set by a signal where the job then ends by itself; None: a signal ends the process."""
    format: Callable[[str], str] = staticmethod(lambda line: line)


def take_over_signals() -> None:
    """Take these signals over for the rest of the process.

    To be called by the main thread before there is any other. The signals are blocked in all
    threads but waited for in ours: the database driver installs a handler of its own for SIGINT
    whenever the main thread calls it, which loses signals, and once in eighty crashed.
    Under `nohup`, which has SIGHUP ignored, it stays ignored.

    Raises:
        RuntimeError: no thread can be started.
    """
    if _Stop.installed:
        return
    _Stop.installed = True
    stops = set(STOPS)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        stops.remove(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    threading.Thread(target=_wait, args=(stops,), name="signals", daemon=True).start()


@contextmanager
def stopped_by_signals(finish: Finish, *, retry: bool = True) -> Iterator[None]:
    """While the block runs, a signal ends the process by way of `finish`.

    After the block the job counts as done. Where the block fails, `finish` still says what is kept.
    With `retry` the line says that the same command finishes the job.
    """
    _Stop.finish, _Stop.retry = finish, retry
    yield
    _Stop.finish, _Stop.retry = lambda: JOB_DONE, False


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """While the block runs and for the rest of the process, a signal only sets this event.

    For a job that a stop may end well: it looks at the event and ends by itself. If that takes too
    long, the process is ended by way of `finish`. The exit code is 0 then, too.
    """
    _Stop.wanted = threading.Event()
    yield _Stop.wanted


def format_with(format_line: Callable[[str], str]) -> None:
    """Have the line of a signal written in another form."""
    _Stop.format = staticmethod(format_line)


def batch_seconds() -> float:
    """How long whoever finishes a job waits for the batch that is being written."""
    return LAST_BATCH_SECONDS if _Stop.wanted is None else LATE_BATCH_SECONDS


def what_is_kept() -> str:
    """What the current job has kept or changed, as whole sentences; no new batch is started."""
    return _Stop.finish()


def wait_if_being_stopped() -> None:
    """Wait for the end of the process, if a signal is ending it.

    Whatever fails after the signal fails because of it.
    """
    if _Stop.number is not None:
        threading.Event().wait()


def _wait(stops: set[signal.Signals]) -> None:
    number, code = signal.sigwait(stops), 128
    if _Stop.wanted is not None:
        _Stop.wanted.set()
        time.sleep(OWN_END_SECONDS)
        code = -number
    _Stop.number = number
    # a stderr that is a full pipe takes no line
    latest = LATEST_SECONDS - (0 if _Stop.wanted is None else OWN_END_SECONDS)
    threading.Timer(latest, os._exit, (code + number,)).start()
    try:
        kept = _Stop.finish()
        line = f"Stopped by `{signal.Signals(number).name}`. {kept}{_again()}"
        # as long as the module is not loaded, there are no temporary folders
        remove = getattr(sys.modules.get("connectors.scratch"), "remove_all_for_good", None)
        if remove is not None:
            remove()
        # while a flow runs, descriptor 2 catches what Bytewax prints; Python's own stream still
        # leads to where it did
        restored = SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{restored}{_Stop.format(line)}\n".encode())
    finally:
        os._exit(code + number)


def _again() -> str:
    if not _Stop.retry:
        return ""
    from connectors.errors import RETRY  # noqa: PLC0415 # not needed before a job has begun

    return f" {RETRY}"
