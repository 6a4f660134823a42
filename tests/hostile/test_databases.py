"""Databases with hostile blocks: what is hostile is rejected, all else is delivered."""

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.sqlite import connect, query
from flows.synth.events import Event, data_event
from tests.hostile.catalogue import Hostile, catalogue
from tests.support.job import chain, store
from tests.support.program import Ended, ceramic_order, run, run_measured

MOST_KIB = 32 * 1024
"""By how much hostile blocks may raise a run's peak of memory."""


@pytest.fixture(scope="module")
def hostile() -> dict[str, Hostile]:
    """The catalogue, below the init event of a stream."""
    init = chain(1)[0]
    return catalogue(init.stream, init.cid)


def _good() -> list[Event]:
    """Two streams, one of them that of the hostile events."""
    return [*chain(50), *chain(50, seed=1)]


def _with_children(hostile: dict[str, Hostile]) -> list[Event]:
    """The hostile events, each followed by an innocent child."""
    return [
        event
        for one in hostile.values()
        for event in (one.event, data_event(one.event.stream, one.event.cid, "child"))
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, hostile: dict[str, Hostile]) -> Path:
    """Good and hostile events, undelivered but for the init events."""
    good, bad = _good(), _with_children(hostile)
    return store(tmp_path_factory.mktemp("hostile") / "node.db", [*good[:50], *bad, *good[50:]])


@pytest.fixture(scope="module")
def ran(database: Path) -> tuple[Ended, int]:
    """A run on that database, and its peak of memory in KiB."""
    report = database.parent / "report"
    return run_measured(ceramic_order("run", database, "--json", "--report", report))


def test_each_hostile_event_is_rejected_with_its_reason(
    database: Path, ran: tuple[Ended, int], hostile: dict[str, Hostile]
) -> None:
    assert ran[0].code == 0
    report = pq.read_table(database.parent / "report")
    reported = {row["cid"]: row["reason"] for row in report.to_pylist()}
    names = {one.event.cid: name for name, one in hostile.items()}
    assert len(names) == len(hostile)
    rejected = {names[cid]: reason for cid, reason in reported.items() if cid in names}
    assert rejected == {name: str(one.reason) for name, one in hostile.items() if one.reason}


def test_all_else_is_delivered(
    database: Path, ran: tuple[Ended, int], hostile: dict[str, Hostile]
) -> None:
    rejected = [one for one in hostile.values() if one.reason]
    document = ran[0].document
    assert (document["rejected"], document["waiting"]) == (len(rejected), len(rejected))
    with closing(connect(database)) as connection:
        left = set(
            query(connection, "SELECT cid FROM ceramic_one_event WHERE delivered IS NULL")[
                "cid"
            ].to_pylist()
        )
    assert left == {
        event.cid for event in _with_children({str(at): one for at, one in enumerate(rejected)})
    }


def test_memory_stays_that_of_as_many_bytes_of_text(
    tmp_path: Path, ran: tuple[Ended, int], hostile: dict[str, Hostile]
) -> None:
    texts = [
        data_event(one.event.stream, one.event.prev or b"", name + "x" * len(one_block.content))
        for name, one in hostile.items()
        for one_block in one.event.blocks
    ]
    store(tmp_path / "node.db", [*_good(), *texts])
    command = ceramic_order("run", tmp_path / "node.db", "--json")
    assert ran[1] - run_measured(command)[1] < MOST_KIB


@pytest.mark.parametrize(
    "arguments",
    [("status", "--reasons"), ("missing",), ("verify", "--hashes"), ("run", "--check", "links")],
)
def test_every_command_lives_with_hostile_blocks(
    tmp_path: Path, database: Path, ran: tuple[Ended, int], arguments: tuple[str, ...]
) -> None:
    name, *options = arguments
    assert ran[0].code == 0
    shutil.copyfile(database, tmp_path / "node.db")
    ended = run(ceramic_order(name, tmp_path / "node.db", *options), code=None)
    assert ended.code in {0, 1}, ended


def test_why_names_what_is_wrong_with_a_deep_block(
    database: Path, hostile: dict[str, Hostile]
) -> None:
    for name in (
        "data is lists, 1,000,000 deep",
        "the proof is maps, 1,000,000 deep",
        "the root is list of 1099511627776",
    ):
        cid = hostile[name].event.cid.hex()
        document = run(ceramic_order("why", database, cid, "--json")).document
        assert (document["verdict"], document["reason"]) == ("rejected", hostile[name].reason)
