"""What most tests do: store events in a database, and run the main job on it in this process."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main, run_main

from connectors.page_sizes import PageSizes
from connectors.report import ReportSink
from connectors.run_state import RunState
from connectors.sink import DeliveredSink, SinkSettings
from connectors.source import PARTITIONS
from connectors.sqlite import execute
from flows.inputs import Inputs
from flows.lookups import LookUpSettings
from flows.order import build_flow
from flows.synth.database import create_database
from flows.synth.events import Event, data_event, init_event
from flows.synth.schema import SchemaVersion
from operators.order import SHARDS, OrderSettings
from operators.schemas import LEFT, WAITING
from operators.spill import SpillSettings
from tests.support.insert import insert_events


@cache
def chain(length: int, seed: int = 0) -> tuple[Event, ...]:
    """A stream without forks: an init event and `length - 1` data events, in chain order."""
    events = [init_event(seed)]
    for index in range(1, length):
        events.append(data_event(events[0].stream, events[-1].cid, {"n": index}))
    return tuple(events)


def store(
    path: Path,
    events: Sequence[Event],
    delivered: Sequence[int | None] | None = None,
    *,
    schema_version: SchemaVersion = "v0.38",
    without_init_cid: Iterable[bytes] = (),
) -> Path:
    """A new database with these events in this order; by default the inits are delivered.

    `without_init_cid`: the CIDs of the events that were stored before the node noted init CIDs.
    """
    with closing(create_database(path, schema_version=schema_version)) as connection:
        insert_events(connection, events, delivered)
        for cid in without_init_cid:
            execute(
                connection,
                f"UPDATE ceramic_one_event SET init_cid = NULL WHERE cid = x'{cid.hex()}'",
            )  # hex
    return path


def run_flow(flow: Dataflow, workers: int) -> None:
    """Run a flow in this process, by one worker or several."""
    if workers == 1:
        run_main(flow)  # type: ignore[no-untyped-call] # the runner is compiled and has no types
    else:
        # likewise
        cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]


def deliver(
    path: Path,
    *,
    workers: int = 1,
    partitions: int = PARTITIONS,
    shards: int = SHARDS,
    batch_rows: int | None = None,
    check_node: bool = True,
    report: Path | None = None,
    settings: OrderSettings = OrderSettings(),  # noqa: B008 # frozen
    spill: SpillSettings | None = None,
    sizes: PageSizes = PageSizes(),  # noqa: B008 # frozen
    look_ups: LookUpSettings = LookUpSettings(),  # noqa: B008 # frozen
) -> RunState:
    """Run the main job on `path`.

    Unlike `get_flow` it claims nothing, so that many runs fit in one process.
    """
    run_state = RunState()
    folder = None if spill is None else spill.folder
    memory_bytes = 0 if folder else SinkSettings().memory_bytes
    sink_settings = SinkSettings(batch_rows, memory_bytes=memory_bytes, spill_folder=folder)
    sink = DeliveredSink(path, run_state, sink_settings)
    reports = ReportSink(report, LEFT, WAITING, run_state)
    reports.prepare()
    inputs = Inputs(
        path,
        run_state,
        partitions=partitions,
        check_node=check_node,
        settings=look_ups,
        sizes=sizes,
    )
    with closing(inputs):
        run_flow(
            build_flow(inputs, sink, reports, shards=shards, spill=spill, settings=settings),
            workers,
        )
    reports.publish()
    return run_state
