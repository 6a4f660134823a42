"""What a run left, counted from the files of its report: which streams are stuck on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

from connectors.errors import InterruptedRunError
from connectors.paths import plain_folder
from connectors.report import FILES
from operators.encoding.cid import cid_text
from operators.schemas import Reason

DUCKDB_MEMORY = "500MB"
"""Memory of DuckDB; what does not fit goes to temporary files."""

SHOWN = 10
"""How many streams, and how many missing events, are named."""


class StuckStream(NamedTuple):
    """A stream of which events were left."""

    stream: str
    events: int
    reason: str
    """The reason of most of them."""
    cause: str
    """The event that most of them wait for, or that is rejected itself."""


@dataclass(frozen=True)
class Stuck:
    """What is in the files of a report."""

    streams: int
    largest: Sequence[StuckStream]
    """The streams with the most events that were left."""
    missing: int
    """Events that others wait for and that the database does not hold."""
    first_missing: Sequence[str]
    """The first of their CIDs."""


_STREAMS = """
    WITH stuck AS (
        SELECT stream, reason, coalesce(cause, cid) AS cause, count(*) AS events
        FROM read_parquet($files) WHERE stream IS NOT NULL GROUP BY ALL
    ), ranked AS (
        SELECT stream, reason, cause, sum(events) OVER (PARTITION BY stream) AS all_events,
               row_number() OVER (PARTITION BY stream ORDER BY events DESC, cause) AS rank
        FROM stuck
    )
    SELECT stream, all_events::BIGINT, reason, cause, count(*) OVER () FROM ranked WHERE rank = 1
    ORDER BY all_events DESC, stream LIMIT $shown
"""
_MISSING = """
    SELECT cause, count(*) OVER () FROM read_parquet($files) WHERE reason = $missing
    GROUP BY cause ORDER BY cause LIMIT $shown
"""


def read_stuck(folder: Path, spill: Path) -> Stuck:
    """Count what the files of the report in `folder` hold.

    What does not fit in memory is put into the folder `spill`.

    Raises:
        InterruptedRunError: they can't be read, or there is no room for temporary files.
    """
    try:
        with (
            plain_folder(folder) as plain,
            plain_folder(spill) as plain_spill,
            duckdb.connect(
                config={"memory_limit": DUCKDB_MEMORY, "temp_directory": plain_spill}
            ) as connection,
        ):
            files = [f"{plain}/{name}" for name in FILES.values()]
            streams = connection.execute(_STREAMS, {"files": files, "shown": SHOWN}).fetchall()
            missing = connection.execute(
                _MISSING, {"files": files, "shown": SHOWN, "missing": str(Reason.PREV_MISSING)}
            ).fetchall()
    except (duckdb.Error, OSError) as cause:
        is_gone = not all((folder / name).exists() for name in FILES.values())
        raise InterruptedRunError(
            f"The work is complete, but its report in `{folder}` can't be read for a page",
            why="it was removed meanwhile" if is_gone else str(cause).splitlines()[0],
            advice=None if is_gone else "Make room for temporary files in TMPDIR.",
        ) from cause
    return Stuck(
        streams=streams[0][-1] if streams else 0,
        largest=[
            StuckStream(cid_text(stream), events, reason, cid_text(cause))
            for stream, events, reason, cause, _ in streams
        ],
        missing=missing[0][-1] if missing else 0,
        first_missing=[cid_text(cid) for cid, _ in missing],
    )
