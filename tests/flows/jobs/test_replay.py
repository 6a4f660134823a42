"""A replay finds the order that a run would write, and changes nothing but its folder."""

import json
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from connectors.errors import CannotStartError
from connectors.log import ORDER
from flows.jobs.options import RunOptions
from flows.jobs.replay import replay
from flows.jobs.replay_result import Replay
from flows.jobs.run import run
from flows.memory import Memory
from flows.report.digest import order_digest
from flows.synth.database import write_database
from flows.synth.events import data_event, init_event
from flows.synth.streams import Population
from tests.support import program
from tests.support.job import chain, store
from tests.support.oracle import Contents, check, deliverable, read
from tests.support.other_programs import bytes_of, kept_open, leave_a_wal
from tests.support.program import ceramic_order, end, python, started
from tests.support.snapshots import SNAPSHOTS
from tests.support.strategies import Forest, forests

_names = count()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,600 events with forks, by CID, some of them missing, alone in a folder."""
    path = tmp_path_factory.mktemp("store") / "node.db"
    write_database(
        path, Population(streams=80, length=20, forks=0.3, missing=0.01, seed=7), "shuffled"
    )
    return path


def order_of(out: Path) -> list[dict[str, object]]:
    """The rows of a log."""
    return [
        row
        for file in sorted(out.glob("order-*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]


def digest_of_run(before: Contents, after: Contents, folder: Path) -> str:
    """The digest of what a run has written into a database."""
    folder.mkdir()
    numbered = sorted(
        (number, cid)
        for cid, number in after.numbers.items()
        if number and before.numbers[cid] is None
    )
    rows = [
        {
            "delivered": number,
            "cid": cid,
            "stream": after.places[cid].stream,
            "prev": after.places[cid].prev,
            "kind": "data",
            "rowid": 0,
        }
        for number, cid in numbered
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=ORDER), folder / "order-00000.parquet")
    return order_digest(folder, folder)


def replay_and_run(
    path: Path, folder: Path, unservable: frozenset[bytes] = frozenset()
) -> tuple[Replay, Contents]:
    """Replay a database, verified, then run on it: both must say the same.

    Returns what was replayed, and the database before.
    """
    before = read(path)
    kept = path.read_bytes()
    replayed = replay(path, folder / "log", RunOptions(), verified=True)
    assert path.read_bytes() == kept
    assert replayed.verification is not None
    assert replayed.verification.is_good, replayed.verification.failed
    result = run(path, RunOptions(report=folder / "report"))
    after = read(path)
    check(before, after, unservable)
    assert replayed.digest == digest_of_run(before, after, folder / "written")
    assert replayed.run.run_state.reasons == result.run_state.reasons
    for name in ("waiting.parquet", "rejected.parquet"):
        log, report = (
            pq.read_table(folder / part / name).sort_by("rowid") for part in ("log", "report")
        )
        assert log.equals(report)
    return replayed, before


@settings(max_examples=15, deadline=None, print_blob=True)
@given(forest=forests())
def test_a_replay_says_what_a_run_does(
    tmp_path_factory: pytest.TempPathFactory, forest: Forest
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"replay-{next(_names)}"
    folder.mkdir()
    replay_and_run(forest.store(folder / "node.db"), folder, forest.unservable)


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason="the snapshots of real nodes are not here")
@pytest.mark.parametrize("name", ["node-cid", "node-seq", "node-fork"])
def test_a_replay_of_what_a_node_wrote_says_what_a_run_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / "node.db"
    path.write_bytes((SNAPSHOTS / f"{name}.db").read_bytes())
    replayed, before = replay_and_run(path, tmp_path)
    assert replayed.run.run_state.delivered == sum(
        number is None for number in before.numbers.values()
    )


def test_the_log_is_the_deliverable_events_from_the_next_number_on_parents_first(
    synthetic: Path, tmp_path: Path
) -> None:
    before = read(synthetic)
    replay(synthetic, tmp_path / "log", RunOptions(batch_rows=100))
    order = pq.read_table(tmp_path / "log" / "order-00000.parquet")
    assert order.schema.equals(ORDER)
    rows = order.to_pylist()
    assert {row["cid"] for row in rows} == deliverable(before)
    assert [row["delivered"] for row in rows] == list(
        range(before.highest + 1, before.highest + 1 + len(rows))
    )
    numbers = {cid: number for cid, number in before.numbers.items() if number is not None}
    for row in rows:
        assert (row["stream"], row["prev"]) == before.places[row["cid"]]
        assert numbers[row["prev"]] < row["delivered"]
        numbers[row["cid"]] = row["delivered"]


def test_the_digest_does_not_depend_on_how_the_work_is_cut(synthetic: Path, tmp_path: Path) -> None:
    cuts = [
        RunOptions(),
        RunOptions(partitions=1, batch_rows=1),
        RunOptions(partitions=7, batch_rows=100, shares=Memory(10**9, 10**6, 0, 8000)),
        RunOptions(partitions=16, batch_rows=10_000),
    ]
    replays = [
        replay(synthetic, tmp_path / str(index), options) for index, options in enumerate(cuts)
    ]
    assert len({replayed.digest for replayed in replays}) == 1
    delivered = [
        {row["cid"] for row in order_of(tmp_path / str(index))} for index in range(len(cuts))
    ]
    assert all(cids == delivered[0] for cids in delivered)


def test_the_digest_differs_between_databases_that_differ_in_one_event(tmp_path: Path) -> None:
    stream = chain(5)
    fork = data_event(stream[0].stream, stream[2].cid, {"n": 4})
    paths = [store(tmp_path / "chain.db", stream), store(tmp_path / "fork.db", [*stream[:4], fork])]
    first, second = (replay(path, tmp_path / path.stem, RunOptions()) for path in paths)
    assert first.run.run_state.delivered == second.run.run_state.delivered
    assert first.digest != second.digest


def test_old_damage_in_the_snapshot_is_not_held_against_the_replay(tmp_path: Path) -> None:
    stream = chain(4)
    path = store(tmp_path / "node.db", stream, [1, 3, 2, None])
    replayed = replay(path, tmp_path / "log", RunOptions(), verified=True)
    assert replayed.verification is not None
    assert replayed.verification.is_good
    said = replayed.to_json()["verification"]
    assert isinstance(said, dict)
    assert said["in_baseline"] > 0


def test_the_folder_of_the_snapshot_is_the_same_before_and_after(
    synthetic: Path, tmp_path: Path
) -> None:
    before = bytes_of(synthetic.parent)
    replay(synthetic, tmp_path / "log", RunOptions(), verified=True)
    assert bytes_of(synthetic.parent) == before


def test_a_write_ahead_log_next_to_the_snapshot_is_read_in_a_private_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary, folder = tmp_path / "temporary", tmp_path / "store"
    temporary.mkdir()
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = store(folder / "node.db", chain(5))
    leave_a_wal(path)
    before = bytes_of(folder)
    replayed = replay(path, tmp_path / "log", RunOptions(quiet=False), verified=True)
    assert "`node.db-wal`" in capsys.readouterr().err
    assert replayed.to_json()["private_copy"]
    assert replayed.run.run_state.delivered == 3
    assert bytes_of(folder) == before
    assert not list(temporary.iterdir())


def test_a_live_database_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    with kept_open(path), pytest.raises(CannotStartError, match="is open in another process"):
        replay(path, tmp_path / "log", RunOptions())
    assert not (tmp_path / "log").exists()


def test_the_folder_of_the_snapshot_is_no_folder_for_the_log(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(2))
    before = bytes_of(tmp_path)
    with pytest.raises(CannotStartError, match="is the folder of the snapshot itself"):
        replay(path, tmp_path / "x" / "..", RunOptions())
    assert bytes_of(tmp_path) == before


def test_what_is_no_ceramic_database_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"no database" * 1000)
    with pytest.raises(CannotStartError, match="Can't read"):
        replay(tmp_path / "other.db", tmp_path / "log", RunOptions())
    assert not (tmp_path / "log").exists()


@contextmanager
def mounted(source: str, target: Path, *options: str) -> Iterator[None]:
    """Mount something, where that is permitted."""
    if not program.can("mount", *options, source, target):
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        program.run(["umount", target])


@pytest.mark.parametrize("has_log", [False, True])
def test_a_snapshot_on_a_read_only_mount_is_replayed(tmp_path: Path, has_log: bool) -> None:
    path = store(tmp_path / "node.db", chain(5))
    if has_log:
        leave_a_wal(path)
    mount = tmp_path / "mount"
    mount.mkdir()
    with mounted("tmpfs", mount, "-t", "tmpfs"):
        for file in tmp_path.glob("node.db*"):
            shutil.copy(file, mount)
        program.run(["mount", "-o", "remount,ro", mount])
        replayed = replay(mount / "node.db", tmp_path / "log", RunOptions(), verified=True)
    assert replayed.run.run_state.delivered == 4 - has_log


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_replay_leaves_no_log_that_looks_complete(
    synthetic: Path, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "temporary").mkdir()
    path = Path(shutil.copy(synthetic, tmp_path / "store" / "node.db"))
    leave_a_wal(path)
    before = bytes_of(path.parent)
    log = tmp_path / "log"
    command = ceramic_order("replay", path, "--out", log)
    with started(command, environment={"TMPDIR": str(tmp_path / "temporary")}) as child:
        while child.poll() is None and not list(log.glob("ceramic-order-*/*.parquet")):
            time.sleep(0.001)
        child.send_signal(number)
        ended = end(child)
    assert ended.code == (-number if number == signal.SIGKILL else 128 + number)
    assert bytes_of(path.parent) == before
    if number == signal.SIGKILL:
        (left,) = log.iterdir()
        assert left.name.startswith("ceramic-order-")
    else:
        assert f"Stopped by `{number.name}`. Nothing was changed" in ended.err
        assert not log.exists()
        assert not list((tmp_path / "temporary").iterdir())
    assert replay(path, log, RunOptions()).files[0].events


@pytest.mark.parametrize("made", ["waiting.parquet", "spill-*", "nothing"])
def test_a_replay_whose_folder_is_removed_midway_names_it_and_is_no_finding(
    synthetic: Path, tmp_path: Path, made: str
) -> None:
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    command = ceramic_order("replay", synthetic, "--out", log)
    with started(command, environment={"TMPDIR": str(temporary)}) as child:
        # the last one: while it is verified, for which there are files in the temporary folder
        while not (any(log.glob(f"ceramic-order-*/{made}")) or any(temporary.iterdir())):
            assert child.poll() is None
            time.sleep(0.001)
        (folder,) = log.glob("ceramic-order-*")
        folder.rename(tmp_path / "elsewhere")
        ended = end(child)
    assert ended.code == 3, ended
    assert f"The folder `{folder}` was removed while the log was made in it" in ended.err
    assert "the snapshot is unchanged. Let nothing clean up folders" in ended.err
    assert replay(synthetic, log, RunOptions()).files[0].events


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_replay_that_is_interrupted_while_it_is_verified_leaves_no_log(
    synthetic: Path, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = ceramic_order("replay", synthetic, "--out", tmp_path / "log")
    with started(command, environment={"TMPDIR": str(temporary)}) as child:
        while child.poll() is None and not list(temporary.iterdir()):
            time.sleep(0.001)
        child.send_signal(number)
        assert end(child).code == 128 + number
    assert [file.name for file in tmp_path.iterdir()] == ["temporary"]
    assert not list(temporary.iterdir())


def test_a_full_disk_leaves_no_log(synthetic: Path, tmp_path: Path) -> None:
    command = ceramic_order("replay", synthetic, "--out", tmp_path / "log")
    ended = program.run(command, code=3, limits={resource.RLIMIT_FSIZE: 64 * 512})
    # whichever file comes first to the limit
    log = tmp_path / "log"
    limit = "File too large; `ulimit -f` lets no file grow beyond `32,768` bytes."
    assert ended.err.startswith(
        (
            f"Error: Writing to `{log}` failed: {limit} No part of a new log was left",
            f"Error: Can't write the report in `{log}`: {limit} Nothing was changed.",
        )
    ), ended.err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_log_is_refused_unless_it_may_be_overwritten(
    synthetic: Path, tmp_path: Path
) -> None:
    replay(store(tmp_path / "small.db", chain(3)), tmp_path / "log", RunOptions())
    before = bytes_of(tmp_path / "log")
    command = ceramic_order("replay", synthetic, "--out", tmp_path / "log")
    refused = program.run(command, code=2)
    assert "already holds a log: `replay.json`. Nothing was changed." in refused.err
    assert bytes_of(tmp_path / "log") == before
    document = program.run([*command, "--overwrite", "--json"]).document
    assert document == json.loads((tmp_path / "log" / "replay.json").read_text())


def test_the_document_says_what_was_replayed_by_what(synthetic: Path, tmp_path: Path) -> None:
    replayed = replay(synthetic, tmp_path / "log", RunOptions(), verified=True)
    document = json.loads((tmp_path / "log" / "replay.json").read_text())
    assert document == replayed.to_json()
    run_state = replayed.run.run_state
    expected = {
        "database": str(synthetic),
        "size": synthetic.stat().st_size,
        "schema": {"migration": 20240809205108, "version": "v0.38 or later"},
        "private_copy": False,
        "discovered": run_state.discovered,
        "delivered": run_state.delivered,
        "waiting": run_state.reasons["prev missing"],
        "rejected": 0,
        "reasons": {"prev missing": run_state.reasons["prev missing"]},
        "first_number": 81,
        "last_number": 80 + run_state.delivered,
        "order_digest": order_digest(tmp_path / "log", tmp_path),
    }
    assert {key: document[key] for key in expected} == expected
    assert document["verification"]["ok"]
    assert document["files"] == [
        {
            "name": "order-00000.parquet",
            "events": run_state.delivered,
            "first_number": 81,
            "last_number": 80 + run_state.delivered,
        }
    ]
    assert {"python", "sqlite", "ceramic-order", "bytewax", "pyarrow", "duckdb"} <= document[
        "versions"
    ].keys()


def test_strict_exits_1_if_an_event_was_not_delivered(synthetic: Path, tmp_path: Path) -> None:
    options = ("--strict", "--no-verify", "--quiet")
    program.run(ceramic_order("replay", synthetic, "--out", tmp_path / "log", *options), code=1)
    assert json.loads((tmp_path / "log" / "replay.json").read_text())["verification"] is None


def test_it_is_a_flow_of_bytewax_too(synthetic: Path, tmp_path: Path) -> None:
    flow = f"flows.replay:get_flow({str(synthetic)!r}, {str(tmp_path / 'log')!r})"
    ended = program.run(python("-m", "bytewax.run", flow, "-w", "2"))
    assert ended.err.endswith(f" The log is in {tmp_path / 'log'}.\n")
    expected = replay(synthetic, tmp_path / "expected", RunOptions())
    assert (
        json.loads((tmp_path / "log" / "replay.json").read_text())["order_digest"]
        == expected.digest
    )


def test_an_init_event_that_was_not_delivered_gets_a_number_before_its_stream(
    tmp_path: Path,
) -> None:
    unsigned = init_event(1, signed=False)
    change = data_event(unsigned.stream, unsigned.cid, None)
    replay(
        store(tmp_path / "node.db", [change, unsigned], [None, None]),
        tmp_path / "log",
        RunOptions(),
    )
    rows = order_of(tmp_path / "log")
    assert [(row["delivered"], row["kind"], row["prev"]) for row in rows] == [
        (1, "unsigned init", None),
        (2, "data", unsigned.cid),
    ]
