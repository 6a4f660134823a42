"""Another sink: the order of node.db as lines of JSON; the database is only read.

python -m bytewax.run flow
"""

import json
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
from bytewax.connectors.files import FileSink
from bytewax.dataflow import Dataflow

from flows.inputs import Inputs
from operators.decode import decode
from operators.encoding.cid import cid_text
from operators.order import order
from operators.schemas import KINDS

inputs = Inputs(Path("node.db"))


def as_lines(batch: pa.RecordBatch) -> list[tuple[str, str]]:
    """One line of JSON for each event, all for the one file."""
    return [
        ("order", json.dumps({"event": cid_text(row["cid"]), "kind": KINDS[row["kind"]]}))
        for row in batch.to_pylist()
    ]


flow = Dataflow("own-flow")
pages = op.input("source", flow, inputs.source)
events = decode("decode", pages, check=inputs.look_ups.check)
streams = order("order", events.links, look_up=inputs.look_ups.parents)
lines = op.flat_map("lines", streams.ordered, as_lines)
op.output("file", lines, FileSink(Path("order.jsonl")))
