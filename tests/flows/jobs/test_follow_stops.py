"""How `run --follow` ends: by a signal, at any moment, with a clean result and exit code 0."""

import os
import socket
import time
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from tests.support.following import (
    PATIENCE,
    UNDELIVERED,
    check_followed,
    copying,
    empty,
    following,
    insert,
    stop,
    streams,
    until,
)
from tests.support.job import chain, store
from tests.support.oracle import read
from tests.support.other_programs import execute_elsewhere, holding
from tests.support.program import ceramic_order, end, run, start


@pytest.mark.parametrize("number", [SIGINT, SIGHUP])
def test_a_signal_is_a_good_end(tmp_path: Path, number: Signals) -> None:
    path = store(tmp_path / "node.db", chain(5))
    with following(path) as child:
        ended = stop(child, number)
    assert "delivered" in ended.out


@pytest.mark.parametrize("name", ["notify", "@abstract"])
def test_systemd_is_notified(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / "node.db", chain(2))
    name = str(tmp_path / name) if name[0] != "@" else f"{name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(name.replace("@", "\0"))
        service.settimeout(PATIENCE)
        with following(path, environment={"NOTIFY_SOCKET": name}) as child:
            assert service.recv(100) == b"READY=1"
            stop(child)
        assert service.recv(100) == b"STOPPING=1"


def test_a_signal_before_it_is_ready_ends_it_as_any_run(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(2))
    with holding(path, "BEGIN IMMEDIATE"):
        child = start(ceramic_order("run", path, "--follow"))
        time.sleep(2)
        child.send_signal(SIGTERM)
        ended = end(child)
    assert ended.code == 128 + SIGTERM, ended
    assert read(path).highest == 1


def test_a_stop_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    with following(path, interval=3600) as child:
        # a test counts as hanging long before that
        stop(child)
    assert not path.with_name("node.db-wal").exists()


def test_a_stop_does_not_wait_for_another_program(tmp_path: Path) -> None:
    events = chain(5)
    path, whole = store(tmp_path / "node.db", events[:1]), store(tmp_path / "whole.db", events)
    with following(path, interval=0.5) as child:
        # they are there, but nobody else can write
        with holding(path, *copying(whole), "BEGIN IMMEDIATE"):
            time.sleep(2)
            ended = stop(child)
        assert ended.err.startswith(
            "Stopped by `SIGTERM`. `0` events in `0` whole batches are deli"
        )
    run(ceramic_order("run", path, "--quiet"))
    assert len(check_followed(path, 1)) == 4


def test_a_kill_while_what_waits_is_in_files_loses_nothing_and_the_files_go(tmp_path: Path) -> None:
    events = chain(300)
    path, whole = store(tmp_path / "node.db", events[:1]), store(tmp_path / "whole.db", events[2:])
    (scratch := tmp_path / "scratch").mkdir()
    crowded = partial(
        following, path, module="tests.flows.jobs.crowded", environment={"TMPDIR": str(scratch)}
    )
    with crowded() as child:
        # without the second event all others wait
        execute_elsewhere(path, *copying(whole))
        while not list(scratch.glob("*/waiting-*.arrow")):
            assert child.poll() is None
            time.sleep(0.0005)
        child.kill()
        assert end(child).code == -SIGKILL
    assert list(scratch.iterdir())
    insert(path, events[1:2])
    with crowded() as child:
        until(path, UNDELIVERED, 0)
        stop(child)
    assert list(scratch.iterdir()) == []
    assert len(check_followed(path, 1)) == len(events) - 1


WANTED_SECONDS = 2
"""Within which a signal is to end it."""


@pytest.mark.soak
def test_a_stop_at_any_moment_of_a_large_batch_leaves_whole_batches(tmp_path: Path) -> None:
    whole = store(tmp_path / "whole.db", streams(2500, 10))
    rng, took, midway = Random(1), [], 0
    for at in range(8):
        path = empty(tmp_path / f"node-{at}.db")
        with following(path) as child:
            execute_elsewhere(path, *copying(whole))
            time.sleep(rng.uniform(0, 4))
            started = time.monotonic()
            stop(child)
            took.append(time.monotonic() - started)
        numbers = [number for number in read(path).numbers.values() if number is not None]
        assert sorted(numbers) == [*range(1, len(numbers) + 1)]
        midway += len(numbers) not in {0, 25_000}
        run(ceramic_order("run", path, "--quiet"))
        assert len(check_followed(path, 0)) == 25_000
        path.unlink()
    print(f"stops took {min(took):.2f} to {max(took):.2f} s, wanted {WANTED_SECONDS}")  # noqa: T201
    print(f"{midway} of {len(took)} in the middle of what had come")  # noqa: T201
