"""Replay: the main flow on a snapshot that is only read, into Parquet files.

    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "log": order-00000.parquet, ...

Run it as `ceramic-order replay snapshot.db --out order/`, or under Bytewax itself:

    python -m bytewax.run "flows.replay:get_flow('snapshot.db', 'order')" -w 2
"""

from contextlib import ExitStack
from pathlib import Path

from bytewax.dataflow import Dataflow

from connectors.source import PARTITIONS
from flows.inputs import Inputs
from flows.jobs.arguments import checked
from flows.jobs.ending import Ending, outcome
from flows.jobs.invocation import read_invocation, require_one_process
from flows.jobs.options import RunOptions
from flows.jobs.replay import Replaying
from flows.jobs.runner import nothing_changed, require_complete
from flows.lookups import LookUpSettings
from flows.order import build_flow
from operators.order import SHARDS
from operators.spill import SpillSettings


@checked
def get_flow(
    snapshot: str | Path,
    out: str | Path,
    *,
    partitions: int = PARTITIONS,
    shards: int = SHARDS,
    batch_rows: int | None = None,
    check_node: bool = True,
    overwrite: bool = False,
) -> Dataflow:
    """The replay of `snapshot` into the folder `out`, for `python -m bytewax.run` with one process.

    The log is complete when that process ends, if the flow has come to the end of its input; else
    there is none, and the exit code is 1. One line on stderr says which.

    Raises:
        CannotStartError: an argument can't be used, or as for `replay`.
    """
    with ExitStack() as stack:
        require_one_process(read_invocation())
        options = RunOptions(partitions, batch_rows=batch_rows, check_node=check_node)
        replaying = Replaying(Path(snapshot), Path(out), options, overwrite=overwrite)
        stack.callback(replaying.abandon)
        sink, report = replaying.begin()
        job, memory = replaying.job(), options.memory
        inputs = Inputs(
            job.path,
            run_state := job.run_state,
            connect=job.connect,
            partitions=partitions,
            check_node=check_node,
            settings=LookUpSettings(memory.check, job.scratch.folder),
        )
        stack.callback(inputs.close)
        parts = memory.partitions(job.plan.undelivered)
        spill = SpillSettings(job.scratch.folder, memory.shard, parts)
        flow = build_flow(inputs, sink, report, shards=shards, spill=spill)
        close = stack.pop_all().close

    def complete() -> str:
        inputs.close()
        require_complete(run_state, partitions=partitions, kept=nothing_changed)
        report.publish()
        replaying.complete(sink)
        return f"{outcome(run_state)}. The log is in {out}."

    Ending(run_state, complete, close, replaying.kept).register()
    return flow
