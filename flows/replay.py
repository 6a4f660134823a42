"""Replay: the main flow on a snapshot that is only read, into Parquet files.

    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "log": order-00000.parquet, ...

Run it as `ceramic-order replay snapshot.db --out order/`, or under Bytewax itself:

    python -m bytewax.run "flows.replay:get_flow('snapshot.db', 'order')" -w 2
"""

from contextlib import ExitStack
from pathlib import Path

from bytewax.dataflow import Dataflow

from connectors.log import GROUP_ROWS
from connectors.source import PARTITIONS
from flows.inputs import Inputs
from flows.jobs.ending import at_exit, outcome
from flows.jobs.replay import Replaying
from flows.jobs.run import RunOptions
from flows.jobs.runner import nothing_changed, require_complete
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
    there is none, and the exit code is 1. One line on stderr says which.

    Raises:
        CannotStartError: as for `replay`.
    """
    replaying = Replaying(
        Path(snapshot),
        Path(out),
        RunOptions(partitions, batch_rows=batch_rows, check_node=check_node),
        overwrite=overwrite,
    )
    with ExitStack() as stack:
        stack.callback(replaying.abandon)
        sink, report = replaying.begin()
        inputs = Inputs(
            replaying.path,
            run_state := replaying.run_state,
            connect=replaying.reader,
            partitions=partitions,
            check_node=check_node,
        )
        flow = build_flow(inputs, sink, report, shards=shards)
        close = stack.pop_all().close

    def complete() -> str:
        inputs.close()
        require_complete(run_state, partitions=partitions, kept=nothing_changed)
        report.publish()
        replaying.complete(sink)
        return f"{outcome(run_state)}. The log is in {out}."

    at_exit(run_state, complete, close=close, kept=nothing_changed)
    return flow
