"""How far a run was at which time, for the picture of its throughput."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from connectors.run_state import RunState

SAMPLES = 600
"""At the most; when there are so many, every other one is dropped and they are taken half as often."""

FIRST_SECONDS = 0.05
"""Between two samples at first."""


class Sample(NamedTuple):
    """The counts of a run at one time."""

    seconds: float
    """Since the run began."""
    read: int
    delivered: int


@contextmanager
def sampled(run_state: RunState) -> Iterator[list[Sample]]:
    """Sample the counts until the block ends: the first sample is taken at its begin, the last one at its end."""
    started = time.monotonic()
    samples: list[Sample] = []
    done = threading.Event()

    def take() -> None:
        samples.append(
            Sample(time.monotonic() - started, run_state.discovered, run_state.delivered)
        )

    def take_many() -> None:
        seconds = FIRST_SECONDS
        while not done.wait(seconds):
            take()
            if len(samples) >= SAMPLES:
                del samples[1::2]
                seconds *= 2

    take()
    thread = threading.Thread(target=take_many, name="pace", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        take()
