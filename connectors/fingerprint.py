"""Finds out whether two processes of a cluster read the same file, or two copies of one state."""

import hashlib
import platform
from pathlib import Path

from connectors.numbers import highest_number
from connectors.plans import rows_between
from connectors.sqlite import Connection, query, starting

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux names this run of the machine, the same in all its containers."""

SAMPLES, SAMPLE_ROWS = 64, 16
"""At how many places CIDs of events are compared, each of which may be an access to the disk, and
of how many rowids in a row."""

COUNTS = """
    SELECT count(*) AS undelivered, coalesce(sum(rowid % 1000000007), 0) AS undelivered_rows,
        (SELECT coalesce(max(rowid), 0) FROM ceramic_one_event) AS last_event,
        (SELECT coalesce(max(rowid), 0) FROM ceramic_one_event_block) AS last_event_block,
        (SELECT coalesce(max(rowid), 0) FROM ceramic_one_block) AS last_block
    FROM ceramic_one_event WHERE delivered IS NULL
"""
"""By the index on `delivered` and the ends of the tables: no row is read."""

Fingerprint = dict[str, int | str]
"""The state of a database, by what is compared."""


def fingerprint(connection: Connection, path: Path) -> Fingerprint:
    """What differs between two states of a database, as far as can be seen without reading it.

    Whatever a node stores or numbers changes a count or the end of a table. Events that have other
    rowids, as after VACUUM, or another database altogether, are found by samples.

    Raises:
        CannotStartError: it can't be read, or holds a number that is none.
    """
    highest = highest_number(connection, path)
    with starting(path):
        counts: Fingerprint = query(connection, COUNTS).to_pylist()[0]
        last, samples = int(counts["last_event"]), hashlib.sha256()
        statement = sample(connection)
        for place in range(1, SAMPLES + 1):
            end = last * place // SAMPLES
            for row in query(connection, statement, (end - SAMPLE_ROWS + 1, end)).to_pylist():
                samples.update(b"%d %s " % (row["rowid"], row["cid"]))
    return {**counts, "highest_number": highest, "samples": samples.hexdigest()[:16]}


def sample(connection: Connection) -> str:
    """The statement for the events from one rowid to another."""
    named = {"rowid": "rowid", "cid": "coalesce(CAST(cid AS BLOB), x'')"}
    return rows_between(connection, "ceramic_one_event", named)


def machine() -> str:
    """The running machine, the same until it is started again."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def file_identity(path: Path) -> list[int | str]:
    """What two names of one file have in common, in whatever containers of a machine."""
    info = path.stat()
    return [machine(), info.st_dev, info.st_ino]
