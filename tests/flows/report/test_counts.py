"""What is counted of a log is what is in its files."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.jobs.options import RunOptions
from flows.jobs.replay import replay
from flows.report.counts import LabelledCount, LogFacts, RowidBin, log_facts
from flows.synth.database import write_database
from flows.synth.streams import Population
from tests.support.job import chain, store


def test_it_counts_what_is_in_the_log(tmp_path: Path) -> None:
    population = Population(streams=30, length=20, forks=0.4, missing=0.02, seed=3)
    write_database(tmp_path / "node.db", population, "shuffled")
    done = replay(tmp_path / "node.db", tmp_path / "log", RunOptions(), counted=True)
    assert done.log is not None
    order = pq.read_table(tmp_path / "log" / "order-00000.parquet").to_pylist()
    of_stream = Counter(row["stream"] for row in order)
    children = Counter(row["prev"] for row in order if row["prev"] is not None)
    assert sum(bar.height for bar in done.log.lengths) == len(of_stream)
    assert {bar.label: bar.height for bar in done.log.lengths}["17 to 32"] == sum(
        16 < events <= 32 for events in of_stream.values()
    )
    assert sum(bar.height for bar in done.log.forks) == sum(
        count > 1 for count in children.values()
    )
    assert done.log.forks[0] == LabelledCount("2", sum(count == 2 for count in children.values()))
    assert dict(done.log.longest) == dict(
        sorted(of_stream.items(), key=lambda item: (-item[1], item[0]))[:10]
    )
    delivered = done.run.run_state.delivered
    assert sum(one.delivered for one in done.log.rowids) == len(order) == delivered
    assert sum(one.waiting for one in done.log.rowids) == done.run.waiting > 0


def test_every_row_is_in_the_bin_where_it_lies(tmp_path: Path) -> None:
    lowest, highest = -(2**63), 2**63 - 1
    for name, rowids in (
        ("order-0.parquet", [lowest, lowest + 1, 0]),
        ("waiting.parquet", [highest]),
        ("rejected.parquet", [highest]),
    ):
        schema = pa.schema([("rowid", pa.int64()), ("stream", pa.binary()), ("prev", pa.binary())])
        rows = [{"rowid": rowid, "stream": b"s", "prev": None} for rowid in rowids]
        pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / name)
    first, middle, last = log_facts(tmp_path, tmp_path).rowids
    assert first == RowidBin(lowest, 2, 0, 0)
    assert middle[1:] == (1, 0, 0)
    assert middle.first_rowid <= 0 < last.first_rowid
    assert last[1:] == (0, 1, 1)


def test_log_facts_of_a_single_stream(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(8))
    assert replay(path, tmp_path / "log", RunOptions(), counted=True).log == LogFacts(
        [LabelledCount("5 to 8", 1)],
        [],
        [RowidBin(rowid, 1, 0, 0) for rowid in range(2, 9)],
        [(chain(8)[0].cid, 7)],
    )
