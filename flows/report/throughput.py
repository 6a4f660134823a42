"""How far a run was at which time, for the picture of its throughput."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from connectors.run_state import RunState

MOST_SAMPLES = 600
"""The most samples: as many points as a picture can show. At this number every other one is
dropped, and they are taken half as often from then on."""

FIRST_SECONDS = 0.05
"""Seconds between two samples at first: a run of a second then has 20 points."""


class Sample(NamedTuple):
    """The counts of a run at one time."""

    seconds: float
    """Since the start of the run."""
    read: int
    delivered: int


@contextmanager
def sampled(run_state: RunState, samples: list[Sample]) -> Iterator[None]:
    """Sample the counts of a run while the block runs, also at its start and at its end."""
    started = time.monotonic()
    ended = threading.Event()

    def take_one() -> None:
        seconds = time.monotonic() - started
        samples.append(Sample(seconds, run_state.discovered, run_state.delivered))

    def take_many() -> None:
        seconds = FIRST_SECONDS
        while not ended.wait(seconds):
            take_one()
            if len(samples) >= MOST_SAMPLES:
                del samples[1::2]
                seconds *= 2

    take_one()
    thread = threading.Thread(target=take_many, name="throughput", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        take_one()
