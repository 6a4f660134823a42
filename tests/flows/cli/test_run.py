"""`ceramic-order run` as a user starts it: exit codes, output, and what is left on the disk."""

import re
import shutil
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from connectors.sqlite import connect, execute
from flows.synth.database import write_database
from flows.synth.events import data_event
from flows.synth.streams import Population
from operators.schemas import LEFT
from tests.support import program
from tests.support.job import chain, store
from tests.support.oracle import check, read
from tests.support.other_programs import bytes_of
from tests.support.program import ceramic_order, end, started

KEYS = {
    "database": str,
    "discovered": int,
    "delivered": int,
    "waiting": int,
    "rejected": int,
    "reasons": dict,
    "inits": int,
    "first_number": int,
    "last_number": int,
    "batches": int,
    "seconds": float,
    "events_per_second": int,
    "partitions": int,
    "memory_limit": int,
    "dry_run": bool,
    "check": str,
    "batch_rows": int,
    "durable": bool,
    "plan": dict,
    "wal_bytes": int,
    "wrong_notes": int,
    "follow": type(None),
}
"""What `--json` prints, and no more."""


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """Run the command to its end; what it wrote to stdout and stderr."""
    ended = program.run(ceramic_order("run", *arguments), code=code)
    return ended.out, ended.err


def run_json(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    ended = program.run(ceramic_order("run", *arguments, "--json", "--quiet"), code=code)
    assert ended.err == ""
    return ended.document


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Streams: ten with the fifth missing and the eighth broken, three without init, and four."""
    first, orphans, whole = chain(10, 1), chain(3, 2), chain(4, 3)
    broken = data_event(first[0].stream, first[1].cid, "broken")
    broken = broken._replace(blocks=broken.blocks[-1:])
    child = data_event(first[0].stream, broken.cid, "below")
    folder = tmp_path / "store"
    folder.mkdir()
    return store(folder / "node.db", [*first[:4], *first[5:], broken, child, *orphans[1:], *whole])


def test_the_json_document_is_the_documented_one(path: Path) -> None:
    before = read(path)
    document = run_json(path, "--memory-limit", "1GB", "--partitions", "3", "--batch-rows", "9")
    assert {key: type(value) for key, value in document.items()} == KEYS
    assert len(check(before, read(path))) == 6
    assert document | {"seconds": 0, "events_per_second": 0} == {
        "database": str(path),
        "discovered": 15,
        "delivered": 6,
        "waiting": 8,
        "rejected": 1,
        "reasons": {"payload block missing": 1, "prev missing": 7, "prev rejected": 1},
        "inits": 0,
        "first_number": 3,
        "last_number": 8,
        "batches": 1,
        "seconds": 0,
        "events_per_second": 0,
        "partitions": 3,
        "memory_limit": 10**9,
        "dry_run": False,
        "check": "node",
        "batch_rows": 9,
        "durable": False,
        "wal_bytes": 0,
        "wrong_notes": 0,
        "follow": None,
        "plan": document["plan"],
    }


def test_a_second_run_delivers_nothing_and_changes_no_byte(path: Path) -> None:
    run_json(path)
    after = bytes_of(path.parent)
    document = run_json(path)
    assert (document["delivered"], document["first_number"], document["last_number"]) == (
        0,
        None,
        None,
    )
    assert document["reasons"] == {
        "payload block missing": 1,
        "prev missing": 7,
        "prev rejected": 1,
    }
    assert bytes_of(path.parent) == after
    assert list(after) == [path.name]


def test_a_table_is_printed_for_people_and_the_story_goes_to_stderr(path: Path) -> None:
    out, err = run(path)
    rows = [re.findall(r"[^│]+", line) for line in out.splitlines() if "│" in line]
    assert [(name.rstrip()[1:], value.strip()) for name, value, *_ in rows][:-2] == [
        ("discovered", "15"),
        ("delivered", "6"),
        ("numbers", "3 to 8"),
        ("waiting", "8"),
        ("  prev missing", "7"),
        ("  prev rejected", "1"),
        ("rejected", "1"),
        ("  payload block missing", "1"),
    ]
    assert err == ""


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_nothing_live_is_drawn_where_there_is_no_terminal(path: Path, variable: str) -> None:
    ended = program.run(ceramic_order("run", path), environment={variable: "1"})
    assert ended.err == ""
    assert "delivered" in ended.out
    assert variable == "FORCE_COLOR" or "\x1b" not in ended.out


def test_a_dry_run_changes_no_byte_and_foretells_the_run(path: Path) -> None:
    before = bytes_of(path.parent)
    reported = run_json(path, "--dry-run")
    assert (reported["dry_run"], reported["check"], "batches" in reported) == (True, "node", False)
    assert bytes_of(path.parent) == before
    assert (reported["first_number"], reported["last_number"]) == (None, None)
    done = run_json(path)
    same = ("discovered", "delivered", "waiting", "rejected", "reasons", "inits")
    assert [reported[key] for key in same] == [done[key] for key in same]


def test_a_dry_run_needs_no_right_to_write(path: Path) -> None:
    path.chmod(0o444)
    assert run_json(path, "--dry-run")["delivered"] == 6


def test_the_report_lists_what_was_left_with_its_reason(path: Path, tmp_path: Path) -> None:
    run(path, "--report", tmp_path / "new" / "report")
    waiting = pq.read_table(tmp_path / "new" / "report" / "waiting.parquet")
    rejected = pq.read_table(tmp_path / "new" / "report" / "rejected.parquet")
    assert waiting.schema.names == rejected.schema.names
    assert waiting.schema.names[: len(LEFT)] == LEFT.names
    numbers = read(path).numbers
    left = {cid for cid, number in numbers.items() if number is None}
    assert {*waiting["cid"].to_pylist(), *rejected["cid"].to_pylist()} == left
    assert sorted(waiting["reason"].to_pylist()) == ["prev missing"] * 7 + ["prev rejected"]
    assert rejected["reason"].to_pylist() == ["payload block missing"]
    assert set(waiting["cause"].to_pylist()) == {
        chain(10, 1)[4].cid,
        chain(3, 2)[0].cid,
        rejected["cid"][0].as_py(),
    }
    assert sorted(file.name for file in (tmp_path / "new" / "report").iterdir()) == [
        "rejected.parquet",
        "waiting.parquet",
    ]


def test_a_report_of_nothing_left_replaces_an_older_one(path: Path, tmp_path: Path) -> None:
    run(path, "--report", tmp_path / "report")
    run(store(tmp_path / "whole.db", chain(3)), "--report", tmp_path / "report")
    assert pq.read_table(tmp_path / "report" / "waiting.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "report" / "rejected.parquet").num_rows == 0


def test_strict_exits_1_if_an_event_was_not_delivered(path: Path, tmp_path: Path) -> None:
    assert run_json(path, "--strict", code=1)["delivered"] == 6
    assert run_json(store(tmp_path / "whole.db", chain(3)), "--strict")["delivered"] == 2


def test_undelivered_init_events_are_delivered_and_reported(tmp_path: Path) -> None:
    _, err = run(store(tmp_path / "node.db", chain(3), [None] * 3))
    assert err == (
        "Among the delivered: 1 init event, which a node would have stored as delivered.\n"
    )
    assert sorted(number or 0 for number in read(tmp_path / "node.db").numbers.values()) == [
        1,
        2,
        3,
    ]


def test_an_event_that_no_node_could_serve_is_delivered_only_with_check_links(
    tmp_path: Path,
) -> None:
    init, *events = chain(3)
    unlisted = store(tmp_path / "node.db", [init, *events])
    with closing(connect(unlisted, "rw")) as connection:
        execute(
            connection,
            f"DELETE FROM ceramic_one_event_block WHERE event_cid = x'{events[0].cid.hex()}'",
        )  # hex
    document = run_json(unlisted)
    assert (document["delivered"], document["rejected"], document["waiting"]) == (0, 1, 1)
    assert run_json(unlisted, "--check", "links")["delivered"] == 2


@pytest.mark.parametrize("name", ["what?mode=memory.db", "y#frag %41 ü.db", ":memory:"])
def test_a_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / name, chain(3))
    before = read(path)
    assert run_json(path)["database"] == str(path)
    assert list(bytes_of(tmp_path)) == [name]
    assert len(check(before, read(path))) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--partitions", "0"],
        ["--memory-limit", "x"],
        ["--check", "all"],
        ["--batch-rows", "0"],
        ["--memory-limit", "-1GB"],
        ["--nonsense"],
        ["more"],
    ],
)
def test_options_that_make_no_sense_are_usage_errors(path: Path, options: list[str]) -> None:
    before = bytes_of(path.parent)
    out, err = run(path, *options, code=2)
    assert out == ""
    assert "See `ceramic-order run --help`." in err
    assert bytes_of(path.parent) == before


def test_a_report_that_has_no_place_is_refused_before_anything_is_changed(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    before = bytes_of(path.parent)
    _, err = run(path, "--report", tmp_path / "file" / "report", code=2)
    assert "Can't make a report in the folder" in err
    assert bytes_of(path.parent) == before


def test_the_help_ends_with_an_example() -> None:
    out, _ = run("-h")
    assert "Example: ceramic-order run" in out.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12,000 events, about a second of work in small batches."""
    path = tmp_path_factory.mktemp("large") / "node.db"
    write_database(path, Population(streams=1200, length=10, forks=0.2, seed=1), "shuffled")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_one_line_and_a_second_run_finishes_the_job(
    large: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "node.db"
    shutil.copyfile(large, path)
    before = read(large)
    options = ("--batch-rows", "100", "--quiet")
    with started(ceramic_order("run", path, *options)) as process:
        wal = path.with_name(path.name + "-wal")
        while process.poll() is None and _size(wal) < 100_000:
            time.sleep(0.001)
        process.send_signal(number)
        ended = end(process)
    assert (ended.code, ended.out) == (128 + number, ""), ended
    said = re.fullmatch(
        rf"Stopped by `{number.name}`\. "
        r"`(\d+)` events? in `\d+` whole batch(?:es)? (?:is|are) delivered and kept\..*\n",
        ended.err,
    )
    assert said, ended.err
    assert (
        int(said[1])
        == sum(number is not None for number in read(path).numbers.values())
        - len(before.numbers) // 10
    )
    run(path, "--quiet")
    assert list(bytes_of(tmp_path)) == [path.name]
    check(before, read(path))


def _size(file: Path) -> int:
    # the probe whether anybody else has the database open makes a log too, and removes it
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0
