"""How processes meet: those that don't fit refuse all, with one reason, before anything changes.

Here each is a thread; `test_cluster` has processes.
"""

import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import CannotStartError
from connectors.sqlite import connect, execute
from flows.cluster.cluster import Cluster
from flows.cluster.database import open_database
from flows.cluster.meeting import Meeting
from flows.jobs.invocation import Invocation
from tests.support.cluster import addresses
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of, leave_a_wal

PATIENCE = 60.0
OPTIONS: dict[str, Any] = {"shards": 8}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five events, four of them undelivered, alone in a folder."""
    (tmp_path / "store").mkdir()
    return store(tmp_path / "store" / "node.db", chain(5))


Member = Callable[[tuple[str, ...]], Cluster | None]
"""What one process does, given the addresses of all."""


def member(
    number: int,
    path: Path,
    *,
    seconds: float = PATIENCE,
    workers: int = 1,
    partitions: int | None = None,
    options: dict[str, Any] = OPTIONS,
) -> Member:
    """A process that opens a database or a copy, and meets the others."""

    def meet(places: tuple[str, ...]) -> Cluster:
        with ExitStack() as stack:
            meeting = stack.enter_context(Meeting(Invocation(number, places, workers), seconds))
            return open_database(meeting, stack, path, partitions, options).cluster

    return meet


def outcomes(members: list[Member], count: int | None = None) -> list[str]:
    """What becomes of each: `met`, or why it can't go on."""
    places = tuple(addresses(count or len(members)))

    def outcome(meet: Member) -> str:
        try:
            if (cluster := meet(places)) is not None:
                cluster.close()
        except CannotStartError as error:
            return str(error).replace(places[0], "ADDRESS")
        return "met"

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(outcome, members))


def copy_of(path: Path, folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copyfile(path, folder / path.name))


def test_processes_that_fit_meet(path: Path, tmp_path: Path) -> None:
    copy = copy_of(path, tmp_path / "copy")
    assert outcomes([member(0, path), member(1, copy), member(2, copy)]) == ["met", "met", "met"]


@pytest.mark.parametrize(
    ("different", "why"),
    [
        ({"partitions": 3}, "`partitions` is `3` here and `4` there"),
        ({"options": {"shards": 5}}, "`shards` is `5` here and `8` there"),
        ({"workers": 2}, "`workers (-w)` is `2` here and `1` there"),
    ],
)
def test_processes_with_other_options_refuse_all(
    different: dict[str, Any], why: str, path: Path, tmp_path: Path
) -> None:
    copy = copy_of(path, tmp_path / "copy")
    before = bytes_of(tmp_path)
    said = outcomes([member(0, path, partitions=4), member(1, copy, **different), member(2, copy)])
    refusal = f"This process does not fit process `0`: {why}"
    advice = "Nothing was changed. Start all processes with the same options and versions."
    assert said[1] == f"{refusal}. {advice}"
    assert all(f"can't start: {refusal}. {advice}" in each for each in (said[0], said[2]))
    assert bytes_of(tmp_path) == before


def change(path: Path, sql: str) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ceramic_one_event SET delivered = 7 WHERE rowid = 2",
        "DELETE FROM ceramic_one_event WHERE rowid = 5",
        "UPDATE ceramic_one_event SET rowid = 9 WHERE rowid = 5",
        "UPDATE ceramic_one_event SET cid = x'0171' WHERE rowid = 3",
        "INSERT INTO ceramic_one_block (multihash, bytes) VALUES (x'12', x'34')",
    ],
    ids=["delivered", "an event less", "another rowid", "another event", "a block more"],
)
def test_a_copy_of_an_older_or_newer_state_refuses_all(
    sql: str, path: Path, tmp_path: Path
) -> None:
    copy = copy_of(path, tmp_path / "copy")
    change(copy, "PRAGMA foreign_keys = OFF")
    change(copy, sql)
    before = bytes_of(tmp_path)
    said = outcomes([member(0, path), member(1, copy)])
    refusal = f"`{copy}` is a copy of another state than the database of process `0`: `"
    assert said[1].startswith(refusal)
    assert f"can't start: {refusal}" in said[0]
    assert bytes_of(tmp_path) == before


def test_process_0_that_can_not_start_says_why_to_all(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    said = outcomes([member(0, missing), member(1, path), member(2, path)])
    refusal = f"Can't open `{missing}`: No such file or directory"
    assert said[0].startswith(refusal)
    assert said[1] == said[2]
    assert said[1].startswith(f"Process `0` at `ADDRESS` can't start: {refusal}. Nothing was")


def test_two_that_want_to_write_end_with_a_sentence(path: Path, tmp_path: Path) -> None:
    copy = copy_of(path, tmp_path / "copy")
    said = sorted(outcomes([member(0, path, seconds=1), member(0, copy, seconds=1)]))
    assert said[0].startswith("Process `0` can't listen at its address `ADDRESS`: ")
    assert said[1].startswith("Process `1` at `")
    assert "is not there: process `0` waited for `1` seconds at `ADDRESS`. Nothing was " in said[1]


def test_where_nobody_writes_all_end_with_a_sentence(path: Path) -> None:
    said = outcomes([member(1, path, seconds=0.3), member(2, path, seconds=0.3)], 3)
    for each in said:
        assert each.startswith("Process `0` is not there: for `0.3` seconds nobody answered at")


def test_one_number_twice_refuses_all(path: Path) -> None:
    said = outcomes([member(0, path), member(1, path), member(1, path)])
    assert all(
        each.startswith("Process `1` was started twice. Nothing was changed.") for each in said
    )


def test_whoever_else_connects_is_in_nobodys_way(path: Path, tmp_path: Path) -> None:
    copy = copy_of(path, tmp_path / "copy")

    def stranger(places: tuple[str, ...]) -> None:
        host, port = places[0].split(":")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                with socket.create_connection((host, int(port))) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    return
            except OSError:
                time.sleep(0.001)

    def late(places: tuple[str, ...]) -> Cluster | None:
        time.sleep(0.3)
        return member(1, copy)(places)

    assert outcomes([stranger, member(0, path), late], 2) == ["met", "met", "met"]


def test_another_number_of_addresses_refuses_all(path: Path) -> None:
    def sees_three(places: tuple[str, ...]) -> Cluster | None:
        return member(1, path)((*places, "localhost:1"))

    said = outcomes([member(0, path), sees_three])
    assert all("`processes (-a)` is `3` here and `2` there" in each for each in said), said


@pytest.mark.parametrize(
    ("answer", "why"), [(None, "Connection refused"), (b"", "another program answers there")]
)
def test_processes_that_do_not_reach_each_other_refuse_all(
    answer: bytes | None, why: str, path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer is None:
            listener.close()

        def astray(places: tuple[str, ...]) -> Cluster | None:
            elsewhere = (places[0], f"127.0.0.1:{port}", places[2])
            return member(2, path, seconds=4)(elsewhere)

        said = outcomes([member(0, path, seconds=4), member(1, path, seconds=4), astray])
    refusal = f"Process `2` can't reach process `1` at `127.0.0.1:{port}`: {why}. Nothing was chan"
    assert said[2].startswith(refusal)
    assert all(f"can't start: {refusal}" in each for each in said[:2])


def test_addresses_may_be_of_ipv6(path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6")

    def by_six(number: int) -> Member:
        def meet(places: tuple[str, ...]) -> Cluster | None:
            return member(number, path)(tuple(f"[::1]:{each.split(':')[1]}" for each in places))

        return meet

    assert outcomes([by_six(0), by_six(1), by_six(2)]) == ["met", "met", "met"]


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", ":80", "localhost:http", "localhost:65536"]
)
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with (
        pytest.raises(CannotStartError, match=f"`{address}` is no address of a process"),
        Meeting(Invocation(1, (address, "localhost:1")), PATIENCE),
    ):
        pass


def test_a_cluster_that_does_not_meet_says_that_a_wal_was_brought_in(path: Path) -> None:
    leave_a_wal(path)
    (said,) = outcomes([member(0, path, seconds=0.5)], count=2)
    assert "No number was given; what a program that was killed had left in `node.db-wal`" in said
