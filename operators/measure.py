"""Where the time of a flow goes is measured by whoever runs it: a step takes a `Measure`, and by default nothing is measured."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Measure = Callable[[str, int], AbstractContextManager[object]]
"""Measures, while the block runs, a stage of this name that deals with so many rows. It is asked for batches, never for one event."""


def unmeasured(stage: str, rows: int) -> AbstractContextManager[object]:  # noqa: ARG001 # a Measure
    """Measure nothing."""
    return nullcontext()
