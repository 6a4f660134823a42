"""How memory is shared out: `--memory-limit` is for this process and all that decode for it.

Only DuckDB holds more for more events, and goes on in temporary files beyond its share. All else is
bounded by the constants here.
"""

import os
from math import isqrt
from typing import NamedTuple

from connectors.errors import CannotStartError
from flows.amounts import MEGABYTE
from flows.amounts import amount as bytes_in

OWN_BYTES = 150 * MEGABYTE
"""Python and its libraries (50 MB), rows on their way from SQLite or being decoded here (40 MB),
and what DuckDB takes above its share, mostly for joins of up to a million integers (50 MB).
At most 126 MB were seen."""
PROCESS_BYTES = 100 * MEGABYTE
"""A decoding process (75 MB), and the readings that are on their way from it to DuckDB."""
THREAD_BYTES = 125 * MEGABYTE
THREAD_BYTES_PER_ROOT = 80_000
"""What each thread of DuckDB needs to join tables that do not fit into its share, and that by
the square root of the number of events: a join is cut into parts that fit, and each part that is
written holds a page. With one thread, 1 million events took up to 100 MB, and 10 million less
than 200."""


FLUSH = "16MB"
"""From this size on DuckDB gives the memory that it frees back to the system. With its default of
512 MB it held what one join had freed while the next took more: 300 MB above a limit of 2 GB."""


class Shares(NamedTuple):
    """What each may take."""

    processes: int
    """How many decode; with none this process does, in its own share."""
    threads: int
    """DuckDB's."""
    while_decoding: int
    """Bytes for DuckDB as long as there are decoding processes."""
    afterwards: int
    """Bytes for DuckDB when they have ended."""


def amount(text: str) -> int:
    """The bytes in an amount of memory like `500MB` or `4 GiB`.

    Raises:
        CannotStartError: it is none.
    """
    try:
        return bytes_in(text)
    except ValueError:
        raise CannotStartError(
            f"`{text}` is no amount of memory",
            advice="Give a number with a unit, like `500MB` or `4GB`.",
        ) from None


def least_limit(events: int) -> int:
    """The fewest bytes in which a database of so many events can be verified."""
    return OWN_BYTES + _thread_bytes(events)


def _thread_bytes(events: int) -> int:
    return max(THREAD_BYTES, THREAD_BYTES_PER_ROOT * isqrt(events))


def share_out(limit: int, events: int) -> Shares:
    """Share out this many bytes; decoding gets at most half of what is not fixed.

    Raises:
        CannotStartError: they are too few for a database of so many events.
    """
    thread_bytes = _thread_bytes(events)
    left = limit - OWN_BYTES
    if left < thread_bytes:
        least = -(-least_limit(events) // MEGABYTE)
        raise CannotStartError(
            f"`{limit // MEGABYTE}MB` of memory is too little to verify a database of "
            f"{events:,} events",
            advice=f"Give `--memory-limit` at least `{least}MB`.",
        )
    cores = len(os.sched_getaffinity(0))
    processes = min(cores, left // 2 // PROCESS_BYTES, (left - thread_bytes) // PROCESS_BYTES)
    while_decoding = left - processes * PROCESS_BYTES
    return Shares(processes, min(cores, while_decoding // thread_bytes), while_decoding, left)
