"""Counts of what is in a log, for the pictures of its page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from connectors.paths import plain_folder
from connectors.report import FILES
from flows.report.digest import MEMORY_BYTES, order_files, spilling_to

ROWID_BINS = 120
"""How many bars the picture of rowids has."""

LONGEST = 10
"""How many of the longest streams are listed."""

EXACT = 4
"""Each number up to this has a bar of its own; above it, each bar reaches up to a power of two."""


class LabelledCount(NamedTuple):
    """One bar of a picture."""

    label: str
    height: int


class RowidBin(NamedTuple):
    """The undelivered rows from one rowid on up to the next bin's, by what became of them."""

    first_rowid: int
    delivered: int
    waiting: int
    rejected: int


@dataclass(frozen=True)
class LogFacts:
    """What is in a log."""

    lengths: Sequence[LabelledCount]
    """Streams, by how many of their events are in the log."""
    forks: Sequence[LabelledCount]
    """Parents of several, by how many children they have in the log."""
    rowids: Sequence[RowidBin]
    longest: Sequence[tuple[bytes, int]]
    """The streams with the most events in the log, and how many these are."""


_LENGTHS = """
    SELECT events, count(*)
    FROM (SELECT count(*) AS events FROM read_parquet($order) GROUP BY stream)
    GROUP BY events
"""
_FORKS = """
    SELECT children, count(*)
    FROM (
        SELECT count(*) AS children FROM read_parquet($order)
        WHERE prev IS NOT NULL GROUP BY prev HAVING count(*) > 1
    )
    GROUP BY children
"""
_LONGEST = """
    SELECT stream, count(*) AS events FROM read_parquet($order)
    GROUP BY stream ORDER BY events DESC, stream LIMIT $longest
"""
_ROWIDS = """
    WITH row AS (
        SELECT rowid AS id, 'delivered' AS fate FROM read_parquet($order)
        UNION ALL SELECT rowid, 'waiting' FROM read_parquet($waiting)
        UNION ALL SELECT rowid, 'rejected' FROM read_parquet($rejected)
    ), reach AS (
        SELECT min(id) AS first, (max(id)::HUGEINT - min(id)) // $bins + 1 AS width FROM row
    )
    SELECT
        (first + (id::HUGEINT - first) // width * width)::BIGINT AS bin,
        count(*) FILTER (fate = 'delivered'),
        count(*) FILTER (fate = 'waiting'),
        count(*) FILTER (fate = 'rejected')
    FROM row, reach GROUP BY bin ORDER BY bin
"""


def log_facts(folder: Path, spill: Path, memory_bytes: int = MEMORY_BYTES) -> LogFacts:
    """Count what is in a log.

    Args:
        folder: the log.
        spill: an existing folder for what does not fit in memory. It is left empty.
        memory_bytes: of DuckDB.

    Raises:
        InterruptedRunError: the log can't be read, or there is no room for such files.
    """
    with (
        spilling_to(spill, memory_bytes) as connection,
        order_files(folder) as files,
        plain_folder(folder) as plain,
    ):
        order = {"order": files}
        left = {"waiting": f"{plain}/{FILES[True]}", "rejected": f"{plain}/{FILES[False]}"}
        bins = connection.execute(_ROWIDS, {**order, **left, "bins": ROWID_BINS}).fetchall()
        return LogFacts(
            lengths=_bars(connection.execute(_LENGTHS, order).fetchall()),
            forks=_bars(connection.execute(_FORKS, order).fetchall()),
            rowids=[RowidBin(*row) for row in bins],
            longest=connection.execute(_LONGEST, {**order, "longest": LONGEST}).fetchall(),
        )


def _bars(counts: Iterable[tuple[int, int]]) -> list[LabelledCount]:
    """One bar for each of 1, 2, 3 and 4, then for 5 to 8, 9 to 16, and so on.

    `counts` are pairs of a number and how often it occurs.
    """
    bars: dict[int, int] = {}
    for number, count in counts:
        last = number if number <= EXACT else 1 << (number - 1).bit_length()
        bars[last] = bars.get(last, 0) + count
    return [
        LabelledCount(f"{last:,}" if last <= EXACT else f"{last // 2 + 1:,} to {last:,}", count)
        for last, count in sorted(bars.items())
    ]
