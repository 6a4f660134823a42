"""The physical limit: one UPDATE of `delivered` in rowid order, its commit, and the checkpoint at close. Prints the seconds.

No program that sets this column through SQLite can be faster. The numbers rise with the rowid, which is the cheapest order there is.
"""

import sys
import time
from contextlib import closing
from pathlib import Path

from connectors.database import connect, execute, scalar

UPDATE = "UPDATE ceramic_one_event SET delivered = rowid + {} WHERE delivered IS NULL"


def write_alone(path: Path) -> float:
    """Seconds from opening `path` to having closed it."""
    started = time.perf_counter()
    with closing(connect(path, "rw")) as connection:
        execute(connection, "BEGIN IMMEDIATE")
        highest = scalar(connection, "SELECT max(delivered) FROM ceramic_one_event")
        execute(connection, UPDATE.format(highest or 0))
        execute(connection, "COMMIT")
    return time.perf_counter() - started


if __name__ == "__main__":
    print(write_alone(Path(sys.argv[1])))  # noqa: T201 # the result of this program
