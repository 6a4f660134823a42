"""SIGINT and SIGTERM end the process with one line and exit code 130 or 143, at whatever moment they arrive.

Any stop leaves whole batches, so there is nothing to unwind: a thread of ours waits for the signal,
says its line and ends the process, whatever the other threads are doing. This module imports
little, so that it is ready before anything else is loaded.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPS = {signal.SIGINT, signal.SIGTERM}

Finish = Callable[[], str]
"""Brings what is under way to its end, within two seconds, and tells what is left, as the end of
a sentence."""


LATEST_SECONDS = 1.9
"""After this time the process ends whatever happens."""


SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"
"""Clears the line of a live display and shows the cursor that it hid."""


class _Stop:
    finish: Finish = staticmethod(lambda: "nothing was changed.")
    installed = False
    number: int | None = None
    """The signal that is ending the process."""


def install() -> None:
    """Take both signals over for the rest of the process; to be called by its main thread before there is any other.

    They are blocked in all threads but waited for in ours: the database driver installs a handler
    of its own for SIGINT whenever the main thread calls it, which loses signals, and once in eighty
    crashed.
    """
    if _Stop.installed:
        return
    _Stop.installed = True
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    threading.Thread(target=_wait, name="signals", daemon=True).start()


@contextmanager
def stopped_by_signals(finish: Finish) -> Iterator[None]:
    """While the block runs, a signal ends the process by way of `finish`; afterwards the job counts as done."""
    _Stop.finish = finish
    yield
    _Stop.finish = lambda: "the job itself is done."


def give_way() -> None:
    """Wait for the end of the process, if a signal is ending it: what fails from then on fails because of that."""
    if _Stop.number is not None:
        threading.Event().wait()


def _wait() -> None:
    number = _Stop.number = signal.sigwait(STOPS)
    # a stderr that is a full pipe takes no line
    threading.Timer(LATEST_SECONDS, os._exit, (128 + number,)).start()
    try:
        left = _Stop.finish()
        line = f"Stopped by {signal.Signals(number).name}: {left[0].lower()}{left[1:]}\n"
        # without it there are no temporary folders
        if (scratch := sys.modules.get("connectors.scratch")) is not None:
            scratch.remove_all()
        # while a flow runs, descriptor 2 catches what Bytewax prints; Python's own stream still
        # leads to where it did
        restored = SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), (restored + line).encode())
    finally:
        os._exit(128 + number)
