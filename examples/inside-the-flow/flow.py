"""The main job with a look at what passes between its steps; nothing is written.

python -m bytewax.run flow
"""

from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow, Stream

from flows.inputs import Inputs
from operators.decode import decode
from operators.encoding.cid import cid_text
from operators.order import order
from operators.schemas import KINDS, Page

inputs = Inputs(Path("node.db"))


def show(step_id: str, batch: pa.RecordBatch) -> None:
    """Print a batch, its columns and its first rows."""
    print(f"\n{step_id.partition('.')[2]}: {batch.num_rows} rows")
    for row in batch.slice(0, 4).to_pylist():
        print("  " + ", ".join(f"{name} {shown(name, value)}" for name, value in row.items()))


def shown(name: str, value: object) -> str:
    """A value of a batch in a few letters."""
    if name == "kind" and isinstance(value, int):
        return KINDS[value]
    if not isinstance(value, bytes):
        return str(value)
    is_cid = name in {"cid", "stream", "prev", "cause"}
    return f"..{cid_text(value)[-4:]}" if is_cid else f"({len(value)} bytes)"


def inspected(step_id: str, up: Stream[pa.RecordBatch]) -> Stream[pa.RecordBatch]:
    """Let everything pass, and show it."""
    return op.inspect(step_id, up, show)


def events_of(page: Page) -> pa.RecordBatch:
    """The events of a page, without the blocks that were read with them."""
    return page.events


flow = Dataflow("inside-the-flow")
pages = op.input("source", flow, inputs.source)
inspected("read", op.map("events", pages, events_of))
events = decode("decode", pages, check=inputs.look_ups.check)
inspected("decoded", events.links)
inspected("rejected", events.rejected)
streams = order("order", events.links, look_up=inputs.look_ups.parents, shards=1)
ordered = inspected("ordered", streams.ordered)
inspected("left", streams.left)
op.output("end", op.flat_map("nothing", ordered, lambda _: list[str]()), StdOutSink())
