"""The numbers of delivered events: which is the highest, and how much room is left above it."""

from pathlib import Path

from connectors.errors import CannotStartError, CeramicOrderError
from connectors.sqlite import Connection, query, sqlite_errors

MAX_NUMBER = 2**63 - 1
"""The largest integer that SQLite can hold."""

ROOM = 2**40
"""How many numbers must be left above the highest: a database can't hold so many events."""

HIGHEST_NUMBER = """
    SELECT typeof(highest) AS kind,
           CASE typeof(highest) WHEN 'integer' THEN highest ELSE 0 END AS number,
           CASE typeof(highest) WHEN 'blob' THEN 'a blob of ' || length(highest) || ' bytes'
                WHEN 'text' THEN 'the text `' || substr(highest, 1, 40) || '`'
                ELSE 'the real number `' || coalesce(highest, '') || '`' END AS shown
    FROM (SELECT max(delivered) AS highest FROM ceramic_one_event)
"""
"""SQLite sorts blobs after text and text after numbers, so a value that is no number is the
highest."""


def highest_number(
    connection: Connection,
    path: Path,
    kind: type[CeramicOrderError] = CannotStartError,
    *,
    room: int = ROOM,
) -> int:
    """The highest number of a delivered event; 0 if there is none, or if all are negative.

    Args:
        connection: a connection to the database.
        path: its name in the error.
        kind: the error to raise; CannotStartError where nothing has been changed.
        room: how many larger numbers must be left.

    Raises:
        CeramicOrderError: of `kind`; a value in `delivered` is no integer, or leaves less room.
    """
    with sqlite_errors(f"Can't read the highest number in `{path}`", kind):
        found = query(connection, HIGHEST_NUMBER).to_pylist()[0]
    if found["kind"] not in {"integer", "null"}:
        raise kind(
            f"`{path}` holds a delivered number that is none",
            why=f"it is {found['shown']}",
            advice="Find out with `ceramic-order verify` where.",
        )
    highest = max(found["number"] or 0, 0)
    if highest > MAX_NUMBER - room:
        raise kind(
            f"`{path}` holds the number `{highest}`",
            why=f"SQLite has none larger than `{MAX_NUMBER}`, so hardly any is left",
            advice="Find out with `ceramic-order verify` who wrote it.",
        )
    return int(highest)
