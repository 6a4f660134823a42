"""Replay: the main flow on a snapshot that is only read, with a log of Parquet files in place of the sink.

    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "log": order-00000.parquet, ...

Run it as `ceramic-order replay snapshot.db --out order/`, or under Bytewax itself:

    python -m bytewax.run "flows.replay:get_flow('snapshot.db', 'order')" -w 2
"""

import atexit
from pathlib import Path

from bytewax.dataflow import Dataflow

from connectors.log import GROUP_ROWS
from connectors.source import PARTITIONS
from flows.inputs import Inputs
from flows.jobs.replay import Replaying
from flows.jobs.run import RunOptions
from flows.order import build_flow
from operators.order import SHARDS


def get_flow(
    snapshot: str,
    out: str,
    *,
    partitions: int = PARTITIONS,
    shards: int = SHARDS,
    batch_rows: int = GROUP_ROWS,
    check_node: bool = True,
    overwrite: bool = False,
) -> Dataflow:
    """The replay of `snapshot` into the folder `out`, for `python -m bytewax.run` with one process.

    The log is complete when that process ends, if the flow has come to the end of its input; else
    there is none.

    Raises:
        CannotStartError: as for `replay`.
    """
    replaying = Replaying(
        Path(snapshot),
        Path(out),
        RunOptions(partitions, batch_rows=batch_rows, check_node=check_node),
        overwrite=overwrite,
    )
    atexit.register(replaying.abandon)
    sink, report = replaying.begin()
    inputs = Inputs(
        replaying.path,
        replaying.run_state,
        connect=replaying.reader,
        partitions=partitions,
        check_node=check_node,
    )

    def complete() -> None:
        inputs.close()
        if replaying.run_state.partitions_read == partitions:
            report.publish()
            replaying.complete(sink)

    atexit.register(complete)
    return build_flow(inputs, sink, report, shards=shards)
