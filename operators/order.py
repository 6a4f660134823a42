"""Order: the stateful step that holds events until their parents are delivered.

The order of a stream never depends on another stream, but the Bytewax key is a shard, a fixed
number of groups of streams: recovery time and memory grow with the number of keys, and a million
streams would be a million keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Stream, operator

from operators.schemas import LINKS, ORDERED, Measure, as_schema, unmeasured
from operators.shard import OrderSettings, Shard, ShardJob, ShardState, resumed
from operators.spill import SpillSettings
from operators.split import split_by_stream
from operators.waiting import KNOWN, NO_EVENTS, LookUp

__all__ = ["KNOWN", "SHARDS", "LookUp", "OrderOut", "OrderSettings", "order", "split_by_stream"]

SHARDS = 8
"""How many shards there are: enough for the workers of one machine, and so few that a page of 8,192
events gives each a thousand."""


@dataclass(frozen=True)
class OrderOut:
    """The two outputs of `order`."""

    ordered: Stream[pa.RecordBatch]
    """Batches of schema ORDERED, or some of its columns, each event after its parent."""
    left: Stream[pa.RecordBatch]
    """At the end of input, batches of schema LEFT: what could not be delivered, with the reason."""


@operator
def order(  # noqa: D417 # step_id is Bytewax's
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[pa.RecordBatch],
    *,
    shards: int = SHARDS,
    look_up: LookUp | None = None,
    columns: Sequence[str] = ORDERED.names,
    spill: SpillSettings | None = None,
    measure: Measure = unmeasured,
    settings: OrderSettings = OrderSettings(),  # noqa: B008 # frozen
) -> OrderOut:
    """Hold events back until their parents have passed, and let them out parents first.

    Args:
        up: batches of schema LINKS, in any order; a ValueError names a column that can't be cast
            to it.
        shards: how many groups of streams there are, each with its own state.
        look_up: knows of parents that do not come through this flow. It is asked once for each
            prev that has not been seen, and again if it could not say yet. Without it only init
            events start a stream, and every CID that was let out is remembered.
        columns: those of ORDERED that are let out.
        spill: where a shard goes that does not fit in memory; None: everything stays in memory.
        measure: measures the stages "split" and "order".
        settings: how often a shard works.
    """
    names = count()

    def split(batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
        with measure("split", batch.num_rows):
            return list(split_by_stream(as_schema(batch, LINKS), shards))

    def new_shard(state: ShardState | None) -> Shard:
        job = ShardJob(look_up, columns, spill, measure, settings, next(names))
        return Shard(job, NO_EVENTS) if state is None else resumed(job, state)

    keyed = op.flat_map("shard", up, split)
    settled = op.stateful_batch("settle", keyed, new_shard)
    unkeyed = op.key_rm("unkey", settled)
    branches = op.branch("reason", unkeyed, lambda batch: "reason" in batch.schema.names)
    return OrderOut(ordered=branches.falses, left=branches.trues)
