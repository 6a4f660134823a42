"""How memory is shared out: `--memory-limit` is for this process and all that decode for it.

Only DuckDB needs more for more events; beyond its share it goes on in temporary files. All else is
bounded by the constants here.
"""

import os
from math import isqrt
from typing import NamedTuple

from connectors.errors import CannotStartError
from flows.amounts import MEGABYTE
from flows.amounts import amount as bytes_in
from flows.machine import memory_there_is

MOST_DEFAULT = 2_000 * MEGABYTE
"""The limit unless another one is given, where there is so much memory."""

OWN_BYTES = 150 * MEGABYTE
"""For this process without DuckDB's share: Python and its libraries (50 MB), rows that are read or
decoded (40 MB), and what DuckDB takes above its share, mostly for joins of up to a million integers
(50 MB). At most 126 MB were measured."""

PROCESS_BYTES = 100 * MEGABYTE
"""For a decoding process (75 MB), and the readings on their way from it to DuckDB."""

THREAD_BYTES = 125 * MEGABYTE
"""The least that a thread of DuckDB needs to join tables that do not fit into its share."""

THREAD_BYTES_PER_ROOT = 80_000
"""The same, times the square root of the number of events: a join is cut into parts that fit, and
each part that is written holds a page. With one thread, 1 million events took up to 100 MB, and 10
million less than 200."""

FLUSH = "16MB"
"""From so much freed memory on, DuckDB gives it back to the system. With its default of 512 MB it
kept what one join had freed while the next one took more: 300 MB above a limit of 2 GB."""


class Shares(NamedTuple):
    """How many processes and threads there are, and what DuckDB may take."""

    processes: int
    """How many processes decode; 0: this process does, in its own share."""
    threads: int
    """How many threads DuckDB has."""
    while_decoding: int
    """Bytes for DuckDB while processes decode."""
    afterwards: int
    """Bytes for DuckDB when they have ended."""


def default_limit() -> str:
    """2 GB, or three quarters of what this process can have: the rest is for the page cache."""
    return f"{min(MOST_DEFAULT, memory_there_is() * 3 // 4) // MEGABYTE}MB"


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
    """The fewest bytes of memory in which a database of so many events can be verified."""
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
