"""Follow a database with the real program, while the test, or another program, inserts rows."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM, Signals
from subprocess import Popen

from connectors.sqlite import connect, scalar
from flows.synth.database import create_database
from flows.synth.events import Event
from tests.support.insert import insert_events
from tests.support.job import chain
from tests.support.oracle import check, read
from tests.support.program import Ended, ceramic_order, end, kill, start

INGEST = Path(__file__).with_name("ingest.py")
UNDELIVERED = "SELECT count(*) FROM ceramic_one_event WHERE delivered IS NULL"
PATIENCE = 60.0
"""Seconds: longer than anything here takes on a busy machine."""


@contextmanager
def following(
    path: Path,
    *options: str,
    interval: float = 0.05,
    environment: dict[str, str] | None = None,
    module: str = "flows",
) -> Iterator[Popen[str]]:
    """A program that follows the database and has said that it is ready."""
    follow = ("--follow", "--interval", str(interval))
    command = ceramic_order("run", path, *follow, *options, module=module)
    child = start(command, environment=environment)
    try:
        await_ready(child)
        yield child
    finally:
        kill(child)


def await_ready(child: Popen[str]) -> None:
    """Wait for the line on stderr that says so."""
    assert child.stderr is not None
    seen = []
    for line in child.stderr:
        seen.append(line)
        if "ready" in line.lower():
            return
    raise AssertionError(seen, end(child))


def stop(child: Popen[str], number: Signals = SIGTERM) -> Ended:
    """End it by a signal, which takes two seconds at most."""
    child.send_signal(number)
    ended = end(child)
    assert ended.code == 0, ended
    return ended


def until(path: Path, sql: str, value: object) -> None:
    """Wait until a query has this answer."""
    deadline = time.monotonic() + PATIENCE
    with closing(connect(path)) as connection:
        while (found := scalar(connection, sql)) != value:
            assert time.monotonic() < deadline, (sql, found, value)
            time.sleep(0.01)


def insert(path: Path, events: Sequence[Event]) -> None:
    """Insert events, all undelivered, by this process."""
    with closing(connect(path, "rw")) as connection:
        insert_events(connection, events, [None] * len(events))


def copying(whole: Path) -> list[str]:
    """The statements that insert all rows of another database, its events undelivered."""
    columns = "order_key, cid, init_cid, " + ", ".join(f"ahash_{at}" for at in range(8))
    wanted = {
        "ceramic_one_block": "*",
        "ceramic_one_event_block": "*",
        "ceramic_one_event": columns,
    }
    return [
        f"ATTACH '{whole}' AS whole",
        *(
            f"INSERT OR IGNORE INTO {table}{'' if names == '*' else f' ({names})'}"
            f" SELECT {names} FROM whole.{table}"
            for table, names in wanted.items()
        ),
    ]


def check_followed(path: Path, highest: int) -> set[bytes]:
    """Hold what was delivered above a number to the promises of a run on all that is there now."""
    after = read(path)
    numbers = {
        cid: number if number is not None and number <= highest else None
        for cid, number in after.numbers.items()
    }
    return check(replace(after, numbers=numbers), after)


def empty(path: Path) -> Path:
    create_database(path).close()
    return path


def streams(count: int, length: int) -> list[Event]:
    return [event for seed in range(count) for event in chain(length, seed)]
