"""Events inserted into a database as a node stores them."""

from collections.abc import Sequence
from itertools import count

from connectors.sqlite import Connection, execute, scalar
from flows.synth.database import insert_rows
from flows.synth.events import Event
from flows.synth.rows import pack, unpack


def insert_events(
    connection: Connection, events: Sequence[Event], delivered: Sequence[int | None] | None = None
) -> None:
    """Insert events in the given order, with their blocks, in one transaction.

    A shared block is stored once.

    `delivered` is the number of each event, None for not delivered. Without it, init events get the
    next numbers and all others none, as when a node stores events. Columns that the database's
    version does not have are left out.
    """
    if delivered is None:
        latest = scalar(connection, "SELECT max(delivered) FROM ceramic_one_event") or 0
        numbers = count(latest + 1)
        delivered = [next(numbers) if event.prev is None else None for event in events]
    execute(connection, "BEGIN IMMEDIATE")
    try:
        insert_rows(connection, unpack(pack(events, delivered)))
    except BaseException:
        execute(connection, "ROLLBACK")
        raise
    execute(connection, "COMMIT")
