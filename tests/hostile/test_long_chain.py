"""One chain of a million events, in any row order, takes time that grows with its length."""

import time
from collections.abc import Callable
from pathlib import Path

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

from flows.cli.synth import command as synth
from operators.encoding.columns import Rows
from operators.order import order
from operators.schemas import DATA, INIT, LINKS
from tests.benchmarks.measure import measured_run
from tests.support.job import run_flow

SHORT, LONG = 100_000, 1_000_000
MOST = 4
"""How many times the tenfold time the long chain may take. Pointer doubling takes 20 rounds
instead of 17; a quadratic step would take ten times the tenfold time."""
BATCH = 8192
"""Events of a page of the source."""

LIMIT = "1GB"
"""Of which shared blocks may take an eighth; all events fit."""

FIXED_BYTES, BYTES_AN_EVENT = 300_000_000, 120
"""Anonymous memory that a run with this limit may hold at most: a fixed part, and a part for each
waiting event."""

ORDERS: dict[str, Callable[[int], Rows]] = {
    "forward": np.arange,
    "reverse": lambda length: np.arange(length)[::-1].copy(),
    "shuffled": lambda length: np.random.default_rng(1).permutation(length),
}


def _cids(places: Rows) -> pa.Array:
    """CIDs of 36 bytes, of the events at these places of the chain; -1 has none."""
    content = np.zeros((len(places), 36), np.uint8)
    content[:, -8:] = places.astype(">u8").view(np.uint8).reshape(-1, 8)
    offsets = pa.array(np.arange(len(places) + 1, dtype=np.int32) * 36).buffers()[1]
    cids = pa.Array.from_buffers(
        pa.binary(), len(places), [None, offsets, pa.py_buffer(content.tobytes())]
    )
    return pa.compute.if_else(pa.array(places >= 0), cids, pa.scalar(None, pa.binary()))


def _links(places: Rows) -> list[pa.RecordBatch]:
    """Row by row the events at these places of one chain, in batches."""
    stream = _cids(np.zeros(len(places), np.int64))
    kind = pa.array(np.where(places == 0, INIT, DATA).astype(np.int8))
    rowid = pa.array(np.arange(1, len(places) + 1))
    rows = pa.record_batch([rowid, _cids(places), stream, _cids(places - 1), kind], schema=LINKS)
    return [rows[at : at + BATCH] for at in range(0, len(places), BATCH)]


def _seconds(places: Rows) -> float:
    """How long the step takes; its result is checked."""
    ordered: list[pa.RecordBatch] = []
    left: list[pa.RecordBatch] = []
    flow = Dataflow("chain")
    out = order("order", op.input("in", flow, TestingSource(_links(places))))
    op.output("ordered", out.ordered, TestingSink(ordered))
    op.output("left", out.left, TestingSink(left))
    started = time.process_time()
    run_flow(flow, 1)
    seconds = time.process_time() - started
    rows = pa.Table.from_batches(ordered)["rowid"].to_numpy() - 1
    assert left == []
    assert np.array_equal(places[rows], np.arange(len(places)))
    return seconds


@pytest.mark.parametrize("name", ORDERS)
def test_the_time_of_a_chain_grows_with_its_length(name: str) -> None:
    short = min(_seconds(ORDERS[name](SHORT)) for _ in range(2))
    long = _seconds(ORDERS[name](LONG))
    print(f"{name}: {short} s, {long} s")  # noqa: T201 # pytest shows it with a failure
    assert long < MOST * LONG / SHORT * short


@pytest.mark.soak
@pytest.mark.parametrize("row_order", ["parents", "shuffled"])
def test_a_run_of_a_chain_keeps_to_its_memory_and_grows_with_its_length(
    row_order: str, tmp_path: Path
) -> None:
    measured = {}
    for length in (SHORT, LONG):
        path = tmp_path / f"{length}.db"
        options = ["--streams", "1", "--length", str(length), "--order", row_order, "--quiet"]
        synth.main([str(path), *options], standalone_mode=False)
        measured[length] = measured_run("run", path, "--memory-limit", LIMIT)
        assert measured[length].document["delivered"] == length - 1
        path.unlink()
    assert measured[LONG].anonymous_bytes < FIXED_BYTES + BYTES_AN_EVENT * LONG
    assert measured[LONG].cpu_seconds < MOST * LONG / SHORT * measured[SHORT].cpu_seconds
