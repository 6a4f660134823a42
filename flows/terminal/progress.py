"""Progress on stderr: a live display on a terminal, a plain line every few seconds elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from connectors.run_state import RunState
from flows.terminal.console import story

LINE_SECONDS = 5.0
"""Between two plain lines."""

REDRAW_SECONDS = 0.25

START_SECONDS = 2.0
"""How long a run waits at the most for its display: a terminal that takes nothing must not keep it."""


@contextmanager
def shown_progress(run_state: RunState, count: Callable[[], int], *, quiet: bool) -> Iterator[None]:
    """Show how far a run is, until the block ends.

    `count` tells how many events there are to read; it runs beside the flow, because counting takes
    seconds in a large database.
    """
    if quiet:
        yield
        return
    started, done = threading.Event(), threading.Event()
    show = _draw if story().is_interactive else _print_lines
    display = threading.Thread(
        target=show, args=(run_state, count, started, done), name="progress", daemon=True
    )
    display.start()
    # the flow takes stderr over as it begins, and the first thing that is written, which hides the
    # cursor, would go with it
    started.wait(START_SECONDS)
    try:
        yield
    finally:
        done.set()
        display.join()


def _draw(
    run_state: RunState, count: Callable[[], int], started: threading.Event, done: threading.Event
) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # the flow lends and takes back sys.stderr meanwhile, so rich must not
    with Progress(
        *columns, console=story(), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        started.set()
        task = progress.add_task("counting", total=None)
        threading.Thread(
            target=lambda: progress.update(task, total=2 * count()), daemon=True
        ).start()
        while not done.wait(REDRAW_SECONDS):
            _redraw(progress, task, run_state)


def _redraw(progress: Progress, task: TaskID, run_state: RunState) -> None:
    # an event is half done when it is read: shuffled rows are delivered only when most of them have
    # been read
    completed = run_state.discovered + run_state.delivered + run_state.reasons.total()
    progress.update(
        task, completed=completed, description=_counts(run_state, progress.tasks[0].elapsed or 0.0)
    )


def _print_lines(
    run_state: RunState, count: Callable[[], int], started: threading.Event, done: threading.Event
) -> None:
    started.set()
    began = time.monotonic()
    if done.wait(LINE_SECONDS):
        return
    total = count()
    while not done.is_set():
        story().print(
            f"{_counts(run_state, time.monotonic() - began)}, of {total:,} undelivered",
            highlight=False,
        )
        done.wait(LINE_SECONDS)


def _counts(run_state: RunState, seconds: float) -> str:
    left = run_state.discovered - run_state.delivered
    rate = run_state.delivered / seconds if seconds else 0.0
    return f"read {run_state.discovered:,}, delivered {run_state.delivered:,}, waiting {left:,}, {rate:,.0f} events/s"
