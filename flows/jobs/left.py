"""Left: what a run would not deliver, and why, found out by a dry run."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from flows.jobs.options import RunOptions
from flows.jobs.run import dry_run
from flows.jobs.run_result import RunResult
from operators.encoding.cid import cid_text
from operators.schemas import LEFT, WAITING, Reason

STUCK_STREAMS = 10
"""How many of the largest stuck streams are named."""


class StuckStreamDocument(TypedDict):
    """A stream with events that would be left."""

    stream: str
    events: int
    reason: str
    """The reason of most of these events."""
    cause: str
    """The event that most of those with this reason wait for, or that is rejected itself."""
    waits: str | None
    """The first event of the stream that waits; None: none does."""


@dataclass(frozen=True)
class Left:
    """What a run would deliver and what it would leave."""

    run: RunResult
    events: pa.Table
    """What would be left, in schema LEFT."""

    @property
    def missing(self) -> list[str]:
        """The CIDs that events wait for and that the database does not hold: as text, sorted."""
        waiting = self.events.filter(pc.equal(self.events["reason"], str(Reason.PREV_MISSING)))
        return sorted(cid_text(cid) for cid in pc.unique(waiting["cause"]).to_pylist())

    @property
    def stuck_streams(self) -> "list[StuckStreamDocument]":
        """The streams with the most events that would be left."""
        readable = self.events.filter(self.events["stream"].is_valid())
        streams = readable.group_by("stream").aggregate([([], "count_all")])
        largest = streams.sort_by([("count_all", "descending"), ("stream", "ascending")])
        return [
            self._stuck(readable, row["stream"], row["count_all"])
            for row in largest.slice(0, STUCK_STREAMS).to_pylist()
        ]

    @staticmethod
    def _stuck(readable: pa.Table, stream: bytes, events: int) -> StuckStreamDocument:
        mine = readable.filter(pc.equal(readable["stream"], pa.scalar(stream, pa.binary())))
        reasons = Counter(mine["reason"].to_pylist())
        reason = min(reasons, key=lambda name: (-reasons[name], name))
        of_reason = mine.filter(pc.equal(mine["reason"], reason))
        causes = Counter(pc.coalesce(of_reason["cause"], of_reason["cid"]).to_pylist())
        cause = min(causes, key=lambda cid: (-causes[cid], cid))
        waiting = mine.filter(pc.is_in(mine["reason"], value_set=pa.array(sorted(WAITING))))
        first = waiting.sort_by("rowid").slice(0, 1)["cid"].to_pylist()
        return {
            "stream": cid_text(stream),
            "events": events,
            "reason": reason,
            "cause": cid_text(cause),
            "waits": cid_text(first[0]) if first else None,
        }

    def to_json(self) -> dict[str, object]:
        """The part `left` of the document of `--json`."""
        return {
            "deliverable": self.run.run_state.delivered,
            "waiting": self.run.waiting,
            "rejected": self.run.rejected,
            "reasons": dict(sorted(self.run.run_state.reasons.items())),
            "missing_prevs": len(self.missing),
            "stuck_streams": self.stuck_streams,
        }


def left(database: Path, options: RunOptions) -> Left:
    """Find out by a dry run what a run would leave.

    Raises:
        CannotStartError: the database can't be read.
        InterruptedRunError: reading failed midway.
    """
    batches: list[pa.RecordBatch] = []
    result = dry_run(database, options, batches)
    return Left(result, pa.Table.from_batches(batches, schema=LEFT))
