"""The main job as plain Bytewax: read the undelivered events, decode them, order their streams, write the order.

python -m bytewax.run flow
"""

from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.run_state import RunState
from connectors.sink import DeliveredSink
from connectors.source import UndeliveredSource
from flows.lookups import LookUps
from operators.decode import decode, payload_multihash
from operators.order import order

DATABASE = Path("node.db")

run_state = RunState()
look_ups = LookUps(DATABASE, check_node=False)

flow = Dataflow("first-order")

# two partitions read the undelivered rows, each item a batch of events with their blocks
raw = op.input("source", flow, UndeliveredSource(DATABASE, 2, payload_multihash, run_state))

# each event now says which stream it belongs to and which event comes before it
events = decode("decode", raw)
op.inspect("unreadable", events.rejected)

# events wait here until the event before them has passed
streams = order("order", events.links, look_up=look_ups.parents)
op.inspect("left", streams.left)

# one partition numbers them as they come, a batch in one transaction
ordered = op.key_on("one_sink", streams.ordered, lambda _: "db")
op.output("sink", ordered, DeliveredSink(DATABASE, 1000, run_state))
