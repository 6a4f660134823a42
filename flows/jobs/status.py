"""Status: what a database holds; with `flows.jobs.left`, why some of it is not delivered.

Nothing is changed, and a node may be running.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from connectors.database import locate
from connectors.numbers import highest_number
from connectors.run_state import RunState
from connectors.schema import Schema, read_schema
from connectors.scratch import Scratch, scratch_parent
from connectors.snapshot import Reader
from connectors.sqlite import query, scalar, sqlite_errors
from flows.jobs.job import planned
from flows.jobs.left import Left, left
from flows.jobs.options import RunOptions
from flows.jobs.plan import Plan
from flows.jobs.runner import finish_by, nothing_changed
from flows.terminal.signals import stopped_by_signals

COUNTS = """
    SELECT is_jose, is_cbor, is_init, count(*) AS events,
           count(*) - count(delivered) AS undelivered,
           sum(estimated) AS estimated
    FROM (
        SELECT delivered, substr(cid, 2, 2) = x'8501' AS is_jose,
               substr(cid, 2, 1) = x'71' AS is_cbor, {is_init} AS is_init,
               {noted} IS NULL AS estimated
        FROM ceramic_one_event
    ) GROUP BY 1, 2, 3
"""
"""One pass over the event table; no block is read."""

IS_INIT = "coalesce({noted} = cid, substr(order_key, -length(cid) - 4, 4) = substr(cid, -4))"
"""Whether an event begins its stream: by the init CID that the node noted, else by the last four
bytes of it in `order_key`."""


HAS_PROOFS = "SELECT count(*) FROM sqlite_master WHERE lower(name) = 'ceramic_one_chain_proof'"
COUNT_PROOFS = "SELECT count(*) FROM ceramic_one_chain_proof"


class KindCounts(NamedTuple):
    """The events of one kind."""

    events: int
    undelivered: int


@dataclass(frozen=True)
class Status:
    """What a database holds."""

    database: Path
    in_use: bool
    """Another process has it open."""
    schema: Schema
    kinds: dict[str, KindCounts]
    """By the codec of an event's CID (signed events are dag-jose) and by whether it begins a
    stream; blocks are not read."""
    highest_number: int | None
    chain_proofs: int | None
    """Rows of `ceramic_one_chain_proof`; None: the node is older than v0.55 and has no such table.
    """
    estimated: int
    """Events that the node stored without noting their stream (before v0.36): four bytes show
    whether one begins a stream."""
    plan: Plan
    """What a run would take."""
    left: Left | None
    """What a run would leave, if that was asked for."""

    @property
    def events(self) -> int:
        """All events."""
        return sum(kind.events for kind in self.kinds.values())

    @property
    def undelivered(self) -> int:
        """Events without a number."""
        return sum(kind.undelivered for kind in self.kinds.values())

    @property
    def streams(self) -> int:
        """Streams whose init event is there."""
        return self.kinds["init"].events + self.kinds["unsigned init"].events

    def to_json(self) -> dict[str, object]:
        """The document of `--json`, a written contract (flows/cli/README.md)."""
        return {
            "database": str(self.database),
            "in_use": self.in_use,
            "schema": self.schema.to_json(),
            "events": self.events,
            "streams": self.streams,
            "delivered": self.events - self.undelivered,
            "undelivered": self.undelivered,
            "highest_number": self.highest_number,
            "kinds": {name: kind._asdict() for name, kind in self.kinds.items()},
            "chain_proofs": self.chain_proofs,
            "estimated": self.estimated,
            "plan": self.plan.to_json(),
            "left": self.left and self.left.to_json(),
        }


def status(database: Path, *, reasons: RunOptions | None = None) -> Status:
    """Count what `database` holds.

    With `reasons` the flow is also run dry, to find out what it would leave and why.

    Raises:
        CannotStartError: the database can't be read.
        InterruptedRunError: reading failed midway.
    """
    path = locate(database)
    reader = Reader(path)
    with (
        stopped_by_signals(finish_by(RunState(), reader.release, nothing_changed)),
        reader,
        closing(reader(path)) as connection,
    ):
        schema = read_schema(connection, path)
        noted = "init_cid" if schema.has_init_cid else "NULL"
        with sqlite_errors(f"Reading `{path}` failed", unchanged="Nothing was changed."):
            counts = query(
                connection, COUNTS.format(noted=noted, is_init=IS_INIT.format(noted=noted))
            ).to_pylist()
            proofs = scalar(connection, COUNT_PROOFS) if scalar(connection, HAS_PROOFS) else None
        highest = highest_number(connection, path)
        scratch = Scratch(scratch_parent(path))
        plan = planned(path, reasons or RunOptions(), reader, scratch, must_end=False)
    kinds = {name: KindCounts(0, 0) for name in ("init", "unsigned init", "data", "time", "other")}
    for row in counts:
        name = _kind(row["is_jose"], row["is_cbor"], row["is_init"])
        kinds[name] = KindCounts(
            kinds[name].events + row["events"], kinds[name].undelivered + row["undelivered"]
        )
    return Status(
        database=path,
        in_use=reader.in_use,
        schema=schema,
        kinds=kinds,
        highest_number=highest or None,
        chain_proofs=proofs,
        estimated=sum(row["estimated"] for row in counts),
        plan=plan,
        left=left(database, reasons) if reasons else None,
    )


def _kind(is_jose: int, is_cbor: int, is_init: int) -> str:
    """The kind of an event (FORMAT.md, The four kinds of event).

    Envelopes are dag-jose, all other root blocks dag-cbor.
    """
    if is_jose:
        return "init" if is_init else "data"
    if is_cbor:
        return "unsigned init" if is_init else "time"
    return "other"
