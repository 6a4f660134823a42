"""Something that is not Ceramic: the commits of a git repository, each after its first parent.

python -m bytewax.run flow
"""

import subprocess
from collections.abc import Iterator

import bytewax.operators as op
import pyarrow as pa
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

from operators.order import order
from operators.schemas import INIT, LINKS, TIME

BATCH_ROWS = 1000


def commits() -> Iterator[pa.RecordBatch]:
    """All commits in batches of schema LINKS, in the order of their hashes: as if at random."""
    log = ["git", "-C", "history", "log", "--all", "--format=%H %P"]
    lines = sorted(
        subprocess.run(log, capture_output=True, check=True, text=True).stdout.split("\n")
    )
    rows = [
        {
            "rowid": rowid,
            "cid": bytes.fromhex(commit),
            "stream": b"history",
            "prev": bytes.fromhex(parents[0]) if parents else None,
            "kind": TIME if parents else INIT,
        }
        for rowid, (commit, *parents) in enumerate(line.split() for line in lines if line)
    ]
    for start in range(0, len(rows), BATCH_ROWS):
        yield pa.RecordBatch.from_pylist(rows[start : start + BATCH_ROWS], schema=LINKS)


def subjects(batch: pa.RecordBatch) -> list[str]:
    """What git says of each commit."""
    names = [commit.hex() for commit in batch["cid"].to_pylist()]
    show = ["git", "-C", "history", "show", "--no-patch", "--format=%h %s", *names]
    return subprocess.run(show, capture_output=True, check=True, text=True).stdout.splitlines()


flow = Dataflow("other-data")
links = op.input("source", flow, TestingSource(commits()))
ordered = order("order", links)
op.output("stdout", op.flat_map("subjects", ordered.ordered, subjects), StdOutSink())
op.inspect("left", ordered.left)
