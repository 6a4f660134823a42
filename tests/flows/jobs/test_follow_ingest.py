"""`run --follow` together with a program that inserts events, for a second, a minute or an hour."""

import json
import re
import time
from pathlib import Path
from random import Random
from signal import SIGKILL
from statistics import median
from subprocess import Popen
from typing import NamedTuple

import pytest

from tests.support.following import (
    INGEST,
    UNDELIVERED,
    check_followed,
    copying,
    empty,
    following,
    stop,
    streams,
    until,
)
from tests.support.job import store
from tests.support.other_programs import execute_elsewhere, holding
from tests.support.program import ceramic_order, end, python, run, start


def check_ingest(
    tmp_path: Path,
    seed: int,
    *,
    count: int,
    seconds: int,
    kills: int = 0,
    module: str = "flows",
) -> None:
    """Follow what an ingest process inserts; nothing deliverable is left."""
    rng = Random(seed)  # to be repeated
    whole = store(tmp_path / "whole.db", streams(count, 8))
    old = streams(2, 5)
    path = store(tmp_path / "node.db", old, [*range(1, 4), None, None, *range(5, 8), None, None])
    ingest = start(python(INGEST, path, whole, seed, seconds))
    for _ in range(kills):
        with following(path, module=module) as child:
            time.sleep(seconds / (kills + 1) * rng.random())
            child.send_signal(SIGKILL)
    with following(path, "--json", module=module) as child:
        assert end(ingest).code == 0
        until(path, UNDELIVERED, 0)
        ended = stop(child)
    document = json.loads(ended.out)
    assert document["waiting"] == document["rejected"] == 0
    gone = document["follow"]["gone"]
    if module == "flows":
        assert document["discovered"] == document["delivered"] + gone
    delivered = check_followed(path, 7)
    assert len(delivered) == 8 * count - 6
    execute_elsewhere(path, "UPDATE ceramic_one_event SET delivered = NULL WHERE delivered > 7")
    run(ceramic_order("run", path, "--quiet"))
    assert check_followed(path, 7) == delivered


@pytest.mark.parametrize("seed", range(2))
def test_what_an_ingest_process_inserts_in_any_order_is_delivered(
    tmp_path: Path, seed: int
) -> None:
    check_ingest(tmp_path, seed, count=25, seconds=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_where_too_many_wait_to_be_kept_all_are_delivered_nevertheless(
    tmp_path: Path, seed: int
) -> None:
    check_ingest(tmp_path, seed, count=60, seconds=3, module="tests.flows.jobs.crowded")


SETTLED = 0.3
"""From this part of the time on a program has the memory and the files that it needs."""
MORE = {"memory": 48_000, "wal": 16_000_000, "descriptors": 8, "threads": 8}
"""What may come on top of that: KiB, bytes, and counts. The first time that all is read anew, as
after `VACUUM`, 40 MB stay; the times after it add nothing."""


class Sizes(NamedTuple):
    """What a program has at one moment."""

    memory: int
    descriptors: int
    threads: int
    wal: int
    """By how much the WAL is larger than the database, which `VACUUM` writes there whole."""


def sizes(child: Popen[str], path: Path) -> Sizes:
    status = Path(f"/proc/{child.pid}/status").read_text()
    memory, threads = (
        int(found[1])
        for name in ("RssAnon", "Threads")
        if (found := re.search(rf"{name}:\s+(\d+)", status))
    )
    descriptors = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
    wal = path.with_name(f"{path.name}-wal").stat().st_size
    return Sizes(memory, descriptors, threads, max(0, wal - path.stat().st_size))


@pytest.mark.soak
@pytest.mark.parametrize("minutes", [1, 60])
def test_memory_descriptors_and_wal_stay_flat(tmp_path: Path, minutes: int) -> None:
    count = 500 * minutes
    whole = store(tmp_path / "whole.db", streams(count, 8))
    path = empty(tmp_path / "node.db")
    seen: list[Sizes] = []
    with following(path, "--json", interval=0.1) as child:
        ingest = start(python(INGEST, path, whole, 1, 60 * minutes))
        while ingest.poll() is None:
            seen.append(sizes(child, path))
            time.sleep(0.5)
        assert end(ingest).code == 0
        until(path, UNDELIVERED, 0)
        stop(child)
    assert len(check_followed(path, 0)) == 8 * count
    settled = int(len(seen) * SETTLED)
    grown = []
    # memory as it is most of the time: where somebody deletes what is being read, all is read anew
    for name, more in MORE.items():
        sizes_seen = [getattr(each, name) for each in seen]
        of_all = median if name == "memory" else max
        first, last = of_all(sizes_seen[:settled]), of_all(sizes_seen[-settled:])
        said = f"{name}: {first:,} at first, {last:,} in the end, {max(sizes_seen):,} at most"
        print(said)  # noqa: T201 # what was measured
        if last > first + more:
            grown.append(said)
    assert not grown


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_what_kills_interrupt_is_delivered_by_the_next(tmp_path: Path, seed: int) -> None:
    check_ingest(tmp_path, seed, count=60, seconds=10, kills=3)


@pytest.mark.soak
def test_a_reader_that_keeps_the_wal_is_named(tmp_path: Path) -> None:
    whole = store(tmp_path / "whole.db", streams(5000, 10))
    path = store(tmp_path / "node.db", streams(1, 1))
    with following(path) as child:
        assert child.stderr is not None
        with holding(path, "BEGIN", "SELECT count(*) FROM ceramic_one_event"):
            execute_elsewhere(path, *copying(whole))
            while "another program reads the database, so " not in (
                said := child.stderr.readline()
            ):
                assert said
        # and when it has ended, the next line says so no more
        while "another program reads the database" in (said := child.stderr.readline()):
            assert said
        stop(child)
