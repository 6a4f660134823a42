"""Checks at the end of a flow's input, before its result counts."""

import os
from contextlib import closing
from pathlib import Path

from connectors.claim import Claim
from connectors.errors import InterruptedRunError
from connectors.run_state import RunState
from connectors.sqlite import Connection, query, scalar, sqlite_errors
from connectors.undelivered import COUNT_UNDELIVERED, HIGHEST_ROWID
from flows.jobs.runner import batches_kept, interrupted

COUNT_WITHOUT_INDEX = "SELECT count(*) FROM ceramic_one_event NOT INDEXED WHERE delivered IS NULL"

SEEN_OF_ALL = 10
"""The table is counted after a run that read at least one row in ten: counting takes 0.2 us a row,
ordering ten times that."""

ALWAYS_COUNTED = 1_000_000
"""A table of at most so many rows is always counted: that takes 0.2 s."""


def checkpoint(connection: Connection, path: Path, run_state: RunState) -> int:
    """Bring the WAL into the database, and both onto the disk.

    SQLite would do so at the last close, but reports no failure there. A reader that came during
    the run and stays, as a backup does, keeps pages in the WAL: that is then synced as it is.

    Returns:
        The bytes of the WAL that could not be brought into the database.

    Raises:
        InterruptedRunError: the disk does not take it.
    """
    with (
        run_state.measure("checkpoint", 0),
        sqlite_errors(
            f"Checkpointing `{path}` failed",
            unchanged=batches_kept(run_state),
            advice=f"If `{path.name}-wal` is left next to it, keep it: "
            "it is a part of the database.",
        ),
    ):
        answer = query(connection, "PRAGMA wal_checkpoint(PASSIVE)").to_pylist()[0]
        pages = answer["log"] - answer["checkpointed"]
        if pages <= 0:
            return 0
        wal = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(wal)
        finally:
            os.close(wal)
        return int(pages * scalar(connection, "PRAGMA page_size"))


def require_all_seen(held: Claim, run_state: RunState) -> None:
    """Count the undelivered events without the index on `delivered`, by which they are found.

    A damaged index hides some, and SQLite does not notice. Where the run has read all rows anyway
    (`flows.lookups`), it has compared both counts there.

    Raises:
        InterruptedRunError: events are undelivered that the run has not seen.
    """
    path = held.path
    unseen = _unexplained(held, run_state, SEEN_OF_ALL * run_state.discovered)
    if unseen < 0:
        error = InterruptedRunError(
            f"`{-unseen}` events of `{path}` that this run left undelivered are gone or delivered",
            why="another program changed the database meanwhile",
            advice="Stop it first.",
            retry=True,
        )
        raise interrupted(error, run_state, batches_kept)
    if unseen:
        error = InterruptedRunError(
            f"`{unseen}` more events are undelivered in `{path}` than its index on `delivered` "
            "shows",
            why="another program inserted them meanwhile, or the index is damaged",
            advice="If no other program was at work, rebuild it with `REINDEX ceramic_one_event` "
            "in the SQLite shell.",
            retry=True,
        )
        raise interrupted(error, run_state, batches_kept)


def _unexplained(held: Claim, run_state: RunState, most_rows: int) -> int:
    """How many events are undelivered beyond those that were left with a reason.

    0 where the table has more than `most_rows` rows, which would take too long.
    """
    path = held.path
    with (
        run_state.measure("count", 0),
        sqlite_errors(f"Counting in `{path}` failed", unchanged=batches_kept(run_state)),
        closing(held.connect(path)) as connection,
    ):
        if run_state.hidden is not None:
            shown = int(scalar(connection, COUNT_UNDELIVERED))
            return run_state.hidden + shown - run_state.reasons.total()
        highest = scalar(connection, HIGHEST_ROWID)
        if highest > max(most_rows, ALWAYS_COUNTED):
            return 0
        return int(scalar(connection, COUNT_WITHOUT_INDEX)) - run_state.reasons.total()
