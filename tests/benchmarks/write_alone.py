"""The physical limit: writes the numbers that a run gave, and prints the seconds.

    python -m tests.benchmarks.write_alone COPY ORDERED

ORDERED is a copy that was ordered, COPY one that was not. The numbers of ORDERED are read first;
then the clock runs while COPY is opened, one UPDATE is bound to all rows in rowid order in one
transaction, committed, with a checkpoint as the database is closed. No program that sets this
through SQLite can be faster.
"""

import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from connectors.sink import SET_DELIVERED, SinkSettings
from connectors.sqlite import connect, connect_reader, execute, query

NUMBERS = "SELECT delivered, rowid FROM ceramic_one_event WHERE delivered > ? ORDER BY rowid"
HIGHEST = "SELECT coalesce(max(delivered), 0) AS highest FROM ceramic_one_event"


def write_alone(path: Path, ordered: Path) -> float:
    """Seconds from opening `path` to having closed it."""
    with closing(connect_reader(path)) as before, closing(connect_reader(ordered)) as after:
        highest = query(before, HIGHEST)["highest"][0].as_py()
        numbers: pa.Table = query(after, NUMBERS, (highest,)).combine_chunks()
    started = time.perf_counter()
    with closing(connect(path, "rw")) as connection:
        execute(connection, "PRAGMA synchronous=NORMAL")
        execute(connection, f"PRAGMA cache_size=-{SinkSettings().cache_kib}")
        execute(connection, "BEGIN IMMEDIATE")
        with connection.cursor() as cursor:
            cursor.executemany(SET_DELIVERED, numbers.to_batches()[0])
        execute(connection, "COMMIT")
    return time.perf_counter() - started


if __name__ == "__main__":
    seconds = write_alone(Path(sys.argv[1]), Path(sys.argv[2]))
    print(seconds)  # noqa: T201 # the result of this program
