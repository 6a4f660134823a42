"""Finds undelivered events, by runs of rowids and by the index on `delivered`."""

from collections.abc import Iterator

import pyarrow as pa

from connectors.plans import indexed_by
from connectors.sqlite import Connection, Cursor, bound

FIRST, LAST = -(2**63), 2**63 - 1
"""The smallest and the largest rowid that SQLite has."""

COUNT_UNDELIVERED = "SELECT count(*) FROM ceramic_one_event WHERE delivered IS NULL"
HIGHEST_ROWID = "SELECT coalesce(max(rowid), 0) FROM ceramic_one_event"

ORDER_KEY = "CASE typeof(order_key) WHEN 'blob' THEN order_key ELSE x'00' END"
"""A value of another type is no event id, but an empty blob counts as one."""

EVENT = {
    "rowid": "rowid",
    "cid": "coalesce(CAST(cid AS BLOB), x'')",
    "order_key": ORDER_KEY,
}
NAMED = ", ".join(f"{expression} AS {name}" for name, expression in EVENT.items())


def next_undelivered(connection: Connection) -> str:
    """The statement for the first undelivered rowid from another on."""
    return f"""
        SELECT rowid
        FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
        WHERE delivered IS NULL AND rowid >= ? ORDER BY rowid LIMIT 1
    """  # constants and a name


def undelivered(connection: Connection) -> str:
    """The statement for the undelivered events from one rowid to another, both included."""
    return f"""
        SELECT {NAMED}
        FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
        WHERE delivered IS NULL AND rowid >= ? AND rowid <= ? ORDER BY rowid
    """  # constants and a name


def undelivered_runs(
    connection: Connection, part: str, rows: int, start: int
) -> Iterator[pa.RecordBatch]:
    """The undelivered events from a rowid on, of each run of so many rowids that has any."""
    index, partitions = map(int, part.split("/"))
    find_next, find = next_undelivered(connection), undelivered(connection)
    with connection.cursor() as cursor:
        while True:
            run = start // rows
            run += (index - run) % partitions
            if run * rows > LAST:
                return
            last = min((run + 1) * rows - 1, LAST)
            found = cursor.execute(find, bound(max(start, run * rows), last)).fetch_arrow_table()
            yield from found.combine_chunks().to_batches()
            if last == LAST:
                return
            start = last + 1
            if not found.num_rows:
                next_one = _rowid(cursor.execute(find_next, bound(start)))
                if next_one is None:
                    return
                start = next_one


def _rowid(cursor: Cursor) -> int | None:
    """The rowid in the first row that a cursor has to give."""
    found = cursor.fetch_arrow_table()
    return int(found["rowid"][0].as_py()) if found.num_rows else None
