"""The physical limit: writes the numbers that a run gave, and prints what that takes.

    python -m tests.benchmarks.write_alone COPY NUMBERS

NUMBERS is a Parquet file of `numbers_of`, COPY a database before that run. The numbers are read
first; then the clock runs while COPY is opened, one UPDATE is bound to all rows in rowid order in
one transaction, committed, with a checkpoint as the database is closed. No program that sets this
through SQLite can be faster.
"""

import json
import resource
import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.sink import SET_DELIVERED, SinkSettings
from connectors.sqlite import connect, connect_reader, execute, query

NUMBERS = "SELECT delivered, rowid FROM ceramic_one_event WHERE delivered > ? ORDER BY rowid"
HIGHEST = "SELECT coalesce(max(delivered), 0) AS highest FROM ceramic_one_event"


BLOCK_BYTES = 512
"""In which the kernel counts what a process gives to the disk."""


def numbers_of(ordered: Path, original: Path, file: Path) -> Path:
    """Write the numbers that a run gave in `ordered`, a copy of `original`, into a file."""
    with closing(connect_reader(original)) as before, closing(connect_reader(ordered)) as after:
        highest = query(before, HIGHEST)["highest"][0].as_py()
        pq.write_table(query(after, NUMBERS, (highest,)), file)
    return file


def write_alone(path: Path, numbers: pa.RecordBatch) -> dict[str, float]:
    """Seconds from opening `path` to having closed it, and bytes that were given to the disk."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_oublock
    started = time.perf_counter()
    with closing(connect(path, "rw")) as connection:
        execute(connection, "PRAGMA synchronous=NORMAL")
        execute(connection, f"PRAGMA cache_size=-{SinkSettings().cache_kib}")
        execute(connection, "BEGIN IMMEDIATE")
        with connection.cursor() as cursor:
            cursor.executemany(SET_DELIVERED, numbers)
        execute(connection, "COMMIT")
    seconds = time.perf_counter() - started
    blocks = resource.getrusage(resource.RUSAGE_SELF).ru_oublock - before
    return {"seconds": seconds, "written_bytes": blocks * BLOCK_BYTES}


if __name__ == "__main__":
    numbers = pq.read_table(sys.argv[2]).combine_chunks().to_batches()[0]
    print(json.dumps(write_alone(Path(sys.argv[1]), numbers)))  # noqa: T201 # the result
