"""What an operator asks of a page, in this order, and the answer that all commands have."""

import resource
from pathlib import Path

from flows.report.page import Answer

MEBIBYTE = 1 << 20

IS_IT_SAFE = "Is it safe to start the node?"
WHAT_IS_LEFT = "What is left, and why?"
WHAT_IS_STUCK = "Which streams are stuck, and on what?"
WHAT_TO_FETCH = "What is there to fetch?"
DID_RULES_PASS = "Did every rule pass?"  # noqa: S105 # no password
WHAT_BREAKS_THEM = "Which events break them?"
HOW_LONG = "How long did it take, and how much memory?"


def cost(seconds: float, events: int, done: str) -> Answer:
    """The answer on time and memory; `done` is what was done with the events, as in "read"."""
    rate = f", {events / seconds:,.0f} events {done} a second" if seconds and events else ""
    own, children = peak_memory()
    of_children = f" and {children / MEBIBYTE:,.0f} MiB in its largest child" if children else ""
    return Answer(
        HOW_LONG,
        "good",
        f"{seconds:,.1f} seconds{rate}.",
        f"At most {own / MEBIBYTE:,.0f} MiB of memory{of_children}, "
        "mapped parts of the database included.",
    )


def peak_memory() -> tuple[int, int]:
    """The most memory that this process, and the largest that it started, have had, in bytes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        # not Linux's own count, which includes what the process was before it was ours
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, children
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024, children
