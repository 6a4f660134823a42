"""The main flow: finds undelivered events, orders every stream, and writes the delivered order.

    source i/N  ->  decode  ->  order (shards of streams)  ->  sink "db", one transaction a batch
                      |             |
                      +-- rejected -+-- left  ->  report

Items are Arrow record batches of thousands of events. Run it as `ceramic-order run node.db`, or
under Bytewax itself:

    python -m bytewax.run "flows.order:get_flow('node.db')" -w 2
"""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.claim import claim
from connectors.database import check_schema, locate
from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.scratch import Scratch, scratch_parent
from connectors.sink import DeliveredSink, DryRunSink, SinkSettings
from connectors.source import PARTITIONS
from connectors.sqlite import connect
from flows.inputs import Inputs
from flows.jobs.ending import Ending, complete_in_place
from flows.jobs.invocation import read_invocation, refusals_shown, require_counts
from flows.lookups import LookUpSettings
from flows.memory import default_limit, share_out
from operators.decode import decode
from operators.order import SHARDS, OrderSettings, order
from operators.schemas import LEFT, WAITING
from operators.spill import SpillSettings

if TYPE_CHECKING:
    # loading it takes time that a run does not have
    from connectors.log import LogSink

UNKNOWN_PARTITIONS = 64
"""Parts of a shard in files where nobody has counted the events."""

Sink: TypeAlias = "DeliveredSink | DryRunSink | LogSink"


def get_flow(
    database: str,
    *,
    partitions: int = PARTITIONS,
    shards: int = SHARDS,
    batch_rows: int | None = None,
    check_node: bool = True,
    writes: bool = True,
    alone: bool = True,
) -> Dataflow:
    """The main job on `database`, in place, for `python -m bytewax.run`.

    The database is claimed until this process ends, and no other program can open it. Then it is
    checkpointed, and one line on stderr says what was delivered and what was left; the exit code
    is 1 if the flow did not come to the end of its input. In a cluster exactly one process has
    `writes`, beside the database; it must not be `alone` if other processes read the same file.

    Raises:
        CannotStartError: it is not a ceramic-one database, not writable, or in use; nothing was
            changed.
    """
    run_state = RunState()
    with refusals_shown(), ExitStack() as stack:
        read_invocation()
        require_counts(partitions=partitions, shards=shards, batch_rows=batch_rows)
        path = locate(Path(database), writable=writes)
        held = stack.enter_context(closing(claim(path, keep_out=alone))) if writes else None
        if held is None:
            check_schema(path)
        memory, scratch = share_out(default_limit()), Scratch(scratch_parent(path))
        stack.callback(scratch.close)
        inputs = Inputs(
            path,
            run_state,
            connect=held.connect if held else connect,
            partitions=partitions,
            check_node=check_node,
            settings=LookUpSettings(memory.check, scratch.folder),
        )
        settings = SinkSettings(batch_rows, memory_bytes=memory.sink, spill_folder=scratch.folder)
        sink = DeliveredSink(path, run_state, settings, writes_here=writes)
        report = ReportSink(None, LEFT, WAITING, run_state, counts_here=writes)
        spill = SpillSettings(scratch.folder, memory.shard, UNKNOWN_PARTITIONS)
        flow = build_flow(inputs, sink, report, shards=shards, spill=spill)
        close = stack.pop_all().close

    def complete() -> str:
        inputs.close()
        if held is None:
            return f"{run_state.discovered:,} events read for the process that writes."
        return complete_in_place(held, run_state, partitions)

    Ending(run_state, complete, close).register()
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
