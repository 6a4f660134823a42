"""The main job as plain Bytewax: read undelivered events, decode and order them, write the order.

python -m bytewax.run flow
"""

from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.run_state import RunState
from connectors.sink import DeliveredSink
from flows.inputs import Inputs
from operators.decode import decode
from operators.order import order

DATABASE = Path("node.db")

run_state = RunState()
inputs = Inputs(DATABASE, run_state, partitions=2, check_node=False)

flow = Dataflow("first-order")

# two partitions read the undelivered rows, each item a page of events with their blocks
pages = op.input("source", flow, inputs.source)

# each event now says which stream it belongs to and which event comes before it
events = decode("decode", pages)
op.inspect("unreadable", events.rejected)

# events wait here until the event before them has passed
streams = order("order", events.links, look_up=inputs.look_ups.parents)
op.inspect("left", streams.left)

# one partition numbers them and writes the numbers, all of these in one transaction
ordered = op.key_on("one_sink", streams.ordered, lambda _: "db")
op.output("sink", ordered, DeliveredSink(DATABASE, run_state))
