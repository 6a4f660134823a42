"""SIGINT and SIGTERM end the process with one line and exit code 130 or 143, at whatever moment they arrive.

Any stop leaves whole batches, so there is nothing to unwind: a thread of ours says its line and ends the process. The interpreter
writes the signal's number to a pipe as soon as it arrives, whatever the other threads are doing. This module imports little, so that
it is ready before anything else is loaded.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

Finish = Callable[[], str]
"""Brings what is under way to its end, within two seconds, and tells what is left, as the end of a sentence."""


LATEST_SECONDS = 1.9
"""After this time the process ends whatever happens."""


class _Stop:
    finish: Finish = staticmethod(lambda: "nothing was changed.")
    installed = False


def install() -> None:
    """Take both signals over for the rest of the process; to be called by its main thread, as early as possible."""
    if _Stop.installed:
        return
    _Stop.installed = True
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_thread)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reading,), name="signals", daemon=True).start()


@contextmanager
def stopped_by_signals(finish: Finish) -> Iterator[None]:
    """While the block runs, a signal ends the process by way of `finish`; afterwards the job counts as done."""
    _Stop.finish = finish
    yield
    _Stop.finish = lambda: "the job itself is done."


def pass_on_keyboard_interrupt() -> NoReturn:
    """Let the thread end the process after all.

    The database driver takes SIGINT over while it works for the main thread, and raises KeyboardInterrupt instead.
    """
    signal.raise_signal(signal.SIGINT)
    while True:
        threading.Event().wait()


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    pass


def _wait(reading: int) -> None:
    number = os.read(reading, 1)[0]
    # a stderr that is a full pipe takes no line
    threading.Timer(LATEST_SECONDS, os._exit, (128 + number,)).start()
    try:
        line = f"Stopped by {signal.Signals(number).name}: {_Stop.finish()}\n"
        # while a flow runs, descriptor 2 catches what Bytewax prints; Python's own stream still leads to where it did
        os.write(sys.stderr.fileno(), line.encode())
    finally:
        os._exit(128 + number)
