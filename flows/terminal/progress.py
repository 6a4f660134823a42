"""The one progress display: how far a command is, on stderr.

On a terminal it is one line that is drawn again and again. Elsewhere, and where a terminal can't
move its cursor, it is a plain line every few seconds. It only reads what the command notes in its
`Phases`.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from rich.live import Live
from rich.text import Text

from connectors.run_state import Phases, RunState
from flows.terminal.console import logs_json, print_event, stderr_console

START_SECONDS = 2.0
"""Seconds that a command waits for its display: a terminal that takes nothing must not stop it."""


@dataclass(frozen=True)
class ProgressSettings:
    """How often the display is shown or drawn anew."""

    line_seconds: float = 5.0
    """Seconds between two plain lines: an hour's run prints fewer than 1,000."""
    redraws_per_second: float = 4
    """How often the line on a terminal is drawn: often enough to be seen moving."""


SETTINGS = ProgressSettings()

BAR_COLUMNS = 20
"""Columns of the bar, where there is room for one."""

MOST_SECONDS_LEFT = 99 * 3600
"""Seconds: a longer time left is not shown, because it is a guess."""

GAP = "  "


@contextmanager
def shown_progress(
    phases: Phases, *, quiet: bool, settings: ProgressSettings = SETTINGS
) -> Iterator[None]:
    """Show how far `phases` are until the block ends."""
    if quiet:
        yield
        return
    started, ended = threading.Event(), threading.Event()
    console = stderr_console()
    is_drawn = console.is_interactive and not console.is_dumb_terminal
    show = _draw if is_drawn and not logs_json() else _print_lines
    display = threading.Thread(
        target=show, args=(phases, settings, started, ended), name="progress", daemon=True
    )
    display.start()
    # a flow takes stderr over as it starts: the first bytes of the display, which hide the cursor,
    # must be written before that
    started.wait(START_SECONDS)
    try:
        yield
    finally:
        ended.set()
        display.join()


def _draw(
    phases: Phases, settings: ProgressSettings, started: threading.Event, ended: threading.Event
) -> None:
    console, began = stderr_console(), time.monotonic()

    def line() -> Text:
        parts = _parts(phases, time.monotonic() - began)
        return Text(fitted(parts, console.width), no_wrap=True, overflow="crop")

    # a running flow replaces sys.stderr, so rich must not
    with Live(
        console=console,
        get_renderable=line,
        refresh_per_second=settings.redraws_per_second,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        started.set()
        ended.wait()


def _print_lines(
    phases: Phases, settings: ProgressSettings, started: threading.Event, ended: threading.Event
) -> None:
    started.set()
    began = time.monotonic()
    while not ended.wait(settings.line_seconds):
        parts = _parts(phases, time.monotonic() - began)
        text = ", ".join(part for part in parts if part and not part.startswith("["))
        print_event("progress", text, _fields(phases, time.monotonic() - began))


def _fields(phases: Phases, elapsed: float) -> dict[str, object]:
    """The same as an event with fields, for programs."""
    name, done, total, _ = phases.current()
    fields: dict[str, object] = {"phase": name, "done": done, "total": total}
    if isinstance(phases, RunState):
        fields |= {"discovered": phases.discovered, "delivered": phases.delivered}
    return fields | {"seconds": round(elapsed, 3)}


def _parts(phases: Phases, elapsed: float) -> list[str]:
    """What there is to say, the most important first; empty: not known."""
    name, done, total, seconds = phases.current()
    parts = [name or "starting"]
    if total:
        share = min(done / total, 1.0)
        filled = round(share * BAR_COLUMNS)
        parts += [
            f"{100 * share:.0f} %",
            _left(seconds, done, total),
            f"{done:,} of {total:,}",
            f"[{'=' * filled}{' ' * (BAR_COLUMNS - filled)}]",
        ]
    parts.append(f"after {clock(elapsed)}")
    if isinstance(phases, RunState):
        rate = phases.delivered / elapsed if elapsed else 0.0
        parts += [f"delivered {phases.delivered:,}", f"{rate:,.0f} events/s"]
    return parts


def _left(seconds: float, done: int, total: int) -> str:
    if not done:
        return ""
    left = seconds * (total - done) / done
    return "" if left > MOST_SECONDS_LEFT else f"{clock(max(left, 0.0))} left"


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fitted(parts: Sequence[str], columns: int) -> str:
    """As many of these parts as fit into a line of `columns`, the first ones first."""
    said = [part for part in parts if part]
    ends = accumulate(len(part) + len(GAP) for part in said)
    # the last column stays free: some terminals break the line there
    fitting = [part for part, end in zip(said, ends, strict=True) if end - len(GAP) < columns]
    return GAP.join(fitting or said[:1])
