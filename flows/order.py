"""The main flow: finds undelivered events, orders every stream, and writes the delivered order.

                     look-ups: shared blocks, parents
                       |             |
    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "db", one transaction a batch
                       |             |
                       +-- rejected -+-- left  ->  report

Items are Arrow record batches of thousands of events. Run it as `ceramic-order run node.db`, or
under Bytewax itself:

    python -m bytewax.run "flows.order:get_flow('node.db')" -w 2

Several processes are a cluster: examples/cluster/README.md.
"""

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.scratch import Scratch, scratch_parent
from connectors.sink import DeliveredSink, DryRunSink, SinkSettings
from connectors.sqlite import starting
from flows.cluster.database import open_database
from flows.cluster.meeting import Meeting
from flows.inputs import Inputs
from flows.jobs.arguments import checked
from flows.jobs.ending import Ending, complete_cluster, kept_elsewhere
from flows.jobs.invocation import read_invocation
from flows.jobs.plan import make_plan
from flows.jobs.runner import batches_kept
from flows.lookups import LookUpSettings
from flows.memory import default_limit, share_out
from operators.decode import decode
from operators.order import SHARDS, OrderSettings, order
from operators.schemas import LEFT, WAITING
from operators.spill import SpillSettings

if TYPE_CHECKING:
    # loading it takes time that a run does not have
    from connectors.log import LogSink

WAIT_SECONDS = 7.0
"""How long the processes of a cluster wait for each other."""

Sink: TypeAlias = "DeliveredSink | DryRunSink | LogSink"


@checked
def get_flow(
    database: str | Path,
    *,
    partitions: int | None = None,
    shards: int = SHARDS,
    batch_rows: int | None = None,
    check_node: bool = True,
    wait_seconds: float = WAIT_SECONDS,
) -> Dataflow:
    """The main job on `database`, in place, for `python -m bytewax.run`.

    The database is claimed until this process ends, and no other program can open it. Then it is
    checkpointed, and one line on stderr says what was delivered and what was left; the exit code
    is 1 if the flow did not come to the end of its input.

    In a cluster (`-i`, `-a`) process 0 is the one that writes. Each of the others reads the same
    file, or a copy of the same state. They meet before anything is changed, wait `wait_seconds` for
    each other, and end together.

    Raises:
        CannotStartError: an argument can't be used, it is not a ceramic-one database, not writable,
            or in use, there is too little memory or disk, or a process of the cluster can't start;
            nothing was changed.
    """
    run_state = RunState()
    with ExitStack() as stack:
        meeting = stack.enter_context(Meeting(read_invocation(), wait_seconds))
        options = {"shards": shards, "check_node": check_node}
        opened = open_database(meeting, stack, Path(database), partitions, options)
        path, writes = opened.path, meeting.is_first
        memory = share_out(default_limit() // meeting.processes_here)
        scratch = Scratch(scratch_parent(path))
        stack.callback(scratch.close)
        inputs = Inputs(
            path,
            run_state,
            connect=opened.connect,
            partitions=opened.partitions,
            check_node=check_node,
            settings=LookUpSettings(memory.check, scratch.folder),
        )
        stack.callback(inputs.close)
        with starting(path), closing(opened.connect(path)) as connection:
            plan = make_plan(
                connection,
                inputs.source,
                memory,
                scratch.parent,
                batch_rows=batch_rows,
                writes=writes,
            )
        if opened.held:
            opened.held.begin()
        settings = SinkSettings(
            plan.batch_rows, memory_bytes=memory.sink, spill_folder=scratch.folder
        )
        if meeting.shares_file:
            settings = replace(settings, checkpoint_pages=0)
        sink = DeliveredSink(
            path,
            run_state,
            settings,
            writes_here=writes,
            descriptor=opened.held.descriptor if opened.held else None,
        )
        report = ReportSink(None, LEFT, WAITING, run_state, counts_here=writes)
        parts = memory.partitions(plan.undelivered)
        spill = SpillSettings(scratch.folder, memory.shard, parts)
        flow = build_flow(inputs, sink, report, shards=shards, spill=spill)
        close = stack.pop_all().close

    def complete() -> str:
        inputs.close()
        return complete_cluster(opened, run_state)

    Ending(
        run_state,
        complete,
        close,
        batches_kept if writes else kept_elsewhere,
        release=opened.held.release if opened.held else scratch.close,
        cluster=opened.cluster,
    ).register()
    return flow


def build_flow(
    inputs: Inputs,
    sink: Sink,
    report: ReportSink,
    *,
    shards: int = SHARDS,
    spill: SpillSettings | None = None,
    settings: OrderSettings = OrderSettings(),  # noqa: B008 # frozen
) -> Dataflow:
    """The way of the data, whatever becomes of it in the end."""
    flow, measure = Dataflow("ceramic-order"), inputs.run_state.measured
    pages = op.input("source", flow, inputs.source)
    events = decode("decode", pages, check=inputs.look_ups.check, measure=measure)
    streams = order(
        "order",
        events.links,
        shards=shards,
        columns=sink.columns,
        look_up=inputs.look_ups.parents,
        spill=spill,
        measure=measure,
        settings=settings,
    )
    op.output("sink", op.key_on("one_sink", streams.ordered, lambda _: "db"), sink)
    left = op.merge("left", events.rejected, streams.left)
    op.output("report", op.key_on("one_report", left, lambda _: "report"), report)
    return flow
