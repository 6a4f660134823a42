"""The metrics of a run, as Prometheus reads them."""

import socket
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.jobs.options import RunOptions
from flows.jobs.run import run
from flows.report.metrics import LOOPBACK, PREFIX, RunMetrics, listening_address, serving
from flows.report.profile import Profile
from flows.synth.database import write_database
from flows.synth.streams import Population
from tests.support import program
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of
from tests.support.program import ceramic_order, end, started


def metrics_at(port: int) -> dict[str, float]:
    """The values at a port by name; those with a label are added up."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("ceramic_order_")
            found[name] = found.get(name, 0) + sample.value
    return found


def test_the_counts_of_a_run_are_served_while_it_lasts(
    tmp_path: Path, unused_ports: tuple[int, int]
) -> None:
    path, port = tmp_path / "node.db", unused_ports[0]
    write_database(path, Population(streams=1200, length=10, forks=0.2, seed=1), "shuffled")
    seen: list[dict[str, float]] = []
    command = ceramic_order("run", path, "--batch-rows", 100, "--metrics", port, "--quiet")
    with started(command) as process:
        while process.poll() is None:
            with suppress(OSError):
                seen.append(metrics_at(port))
        ended = end(process)
    assert ended.code == 0, ended
    assert max(each["read_events_total"] for each in seen) > 0
    assert all(each["pending_events"] >= 0 for each in seen)
    assert [each["delivered_events_total"] for each in seen] == sorted(
        each["delivered_events_total"] for each in seen
    )
    assert {"stage_seconds_total", "wal_bytes", "spilled_bytes", "last_number"} <= {*seen[-1]}


def test_at_the_end_they_are_what_the_document_says(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    write_database(path, Population(streams=30, length=10, missing=0.03, seed=1), "shuffled")
    metrics = RunMetrics(path, profile := Profile())
    result = run(path, RunOptions(watch=metrics.watch, measure=profile.measure))
    samples = [sample for family in metrics.collect() for sample in family.samples]
    found = {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for sample in samples
    }
    document, reasons = result.to_json(), result.run_state.reasons
    assert result.waiting > 0
    assert {reason: found["waiting_events", reason] for reason in reasons} == reasons
    for metric, field in {
        "read_events_total": "discovered",
        "delivered_events_total": "delivered",
        "batches_total": "batches",
        "last_number": "last_number",
        "wal_bytes": "wal_bytes",
    }.items():
        assert found[metric,] == document[field], metric
    assert found["lag_rows",] == found["pending_events",] == found["spilled_bytes",] == 0
    assert found["stage_seconds_total", "write"] > 0


def test_what_is_left_is_counted_by_reason(tmp_path: Path, unused_ports: tuple[int, int]) -> None:
    metrics = RunMetrics(tmp_path / "node.db", Profile())
    metrics.run_state.add_found(12)
    metrics.run_state.add_discovered(10)
    metrics.run_state.add_batch(4, 0, 7)
    metrics.run_state.add_left(Counter({"prev missing": 2, "no signature": 3}))
    with serving((LOOPBACK, unused_ports[0]), metrics):
        found = metrics_at(unused_ports[0])
    expected = {
        "read_events_total": 10,
        "delivered_events_total": 4,
        "batches_total": 1,
        "last_number": 10,
        "waiting_events": 2,
        "rejected_events_total": 3,
        "pending_events": 1,
        "lag_rows": 2,
    }
    assert {name: found[name] for name in expected} == expected
    with pytest.raises(OSError, match="refused"):
        metrics_at(unused_ports[0])


def test_a_busy_port_is_refused_before_the_start(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    before = bytes_of(tmp_path)
    with socket.socket() as busy:
        busy.bind((LOOPBACK, 0))
        busy.listen()
        port = busy.getsockname()[1]
        ended = program.run(ceramic_order("run", path, "--metrics", port), code=2)
    assert ended.err == (
        f"Error: Can't serve metrics on `{LOOPBACK}`, port `{port}`: Address already in use. "
        "Nothing was changed. Name another port.\n"
    )
    assert bytes_of(tmp_path) == before


def test_an_address_is_optional() -> None:
    assert listening_address("9000") == (LOOPBACK, 9000)
    assert listening_address("0.0.0.0:9000") == ("0.0.0.0", 9000)  # noqa: S104 # only read
    assert listening_address("[::1]:9000") == ("::1", 9000)
    for text in ("", "x", "0", "65536", "127.0.0.1", "a:b"):
        with pytest.raises(ValueError, match="is not"):
            listening_address(text)
