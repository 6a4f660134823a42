"""A small database with all kinds of event, rightly delivered, and ways to damage it."""

# SQL of our own values

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cbrrr import decode_dag_cbor

from connectors.log import ORDER
from connectors.sqlite import connect, execute, query, scalar
from flows.report.digest import order_digest
from flows.synth.database import create_database
from flows.synth.events import (
    Event,
    anchor,
    capability,
    data_event,
    did_pkh,
    init_event,
    time_event,
)
from operators.schemas import LEFT
from tests.support.insert import insert_events
from tests.support.oracle import deliverable, read

STEP = 10
"""Numbers have gaps, as in real databases."""

CAPABILITY = capability(did_pkh(1), 1)


def events() -> dict[str, Event]:
    """Two streams by name, parents first. `lost` is not stored: `orphan` and `grandchild` wait."""
    made = {"init": init_event(1, controller=did_pkh(1), data={"n": 0}, cap=CAPABILITY)}
    stream = made["init"].stream

    def data(name: str, prev: str, cap: bool = False) -> None:
        made[name] = data_event(
            stream, made[prev].cid, {"name": name}, cap=CAPABILITY if cap else None
        )

    data("first", "init")
    data("second", "first", cap=True)
    witnesses = anchor([made["first"].cid, made["second"].cid, made["init"].cid], depth=3)
    made["anchor"] = time_event(stream, made["second"].cid, witnesses[1])
    data("fork", "second")
    data("leaf", "anchor")
    made["unsigned"] = init_event(2, signed=False)
    made["change"] = data_event(made["unsigned"].stream, made["unsigned"].cid, None)
    made["alone"] = time_event(made["unsigned"].stream, made["change"].cid)
    data("lost", "leaf")
    data("orphan", "lost")
    data("grandchild", "orphan")
    return made


WORLD = events()
WAITING = ("orphan", "grandchild")
DELIVERED = tuple(name for name in WORLD if name not in {"lost", *WAITING})
ROWIDS = {name: rowid for rowid, name in enumerate((one for one in WORLD if one != "lost"), 1)}
NUMBERS = {name: STEP * place for place, name in enumerate(DELIVERED, 1)}


def store(
    path: Path,
    *,
    numbers: Mapping[str, int | None] | None = None,
    replaced: Mapping[str, Event] | None = None,
    more: Sequence[tuple[Event, int | None]] = (),
) -> Path:
    """Write the world to a new database; `path`.

    `numbers` replaces those of these events, `replaced` the events themselves, and `more` comes
    behind them with its numbers.
    """
    rows = [
        ((replaced or {}).get(name, event), ({**NUMBERS, **(numbers or {})}).get(name))
        for name, event in WORLD.items()
        if name != "lost"
    ]
    rows += more
    with closing(create_database(path)) as connection:
        insert_events(connection, [event for event, _ in rows], [number for _, number in rows])
    return path


def change(path: Path, *statements: str) -> Path:
    """Run SQL on a database; `path`."""
    with closing(connect(path, "rw")) as connection:
        for statement in statements:
            execute(connection, statement)
    return path


def copy(path: Path, name: str) -> Path:
    """A copy next to a database."""
    return Path(shutil.copy(path, path.with_name(name)))


def fields(content: bytes) -> dict[str, Any]:
    """What a block that is a map holds."""
    decoded = decode_dag_cbor(content)
    assert isinstance(decoded, dict)
    return decoded


def literal(value: bytes) -> str:
    """A blob in SQL."""
    return f"x'{value.hex()}'"


def the(name: str) -> str:
    """The condition that finds an event's row."""
    return f"cid = {literal(WORLD[name].cid)}"


def set_number(name: str, number: str) -> str:
    """The statement that gives an event another number, of any type."""
    return f"UPDATE ceramic_one_event SET delivered = {number} WHERE {the(name)}"


def without_unique_numbers(path: Path) -> Path:
    """Make the event table anew without UNIQUE(delivered), with the same rowids; `path`."""
    with closing(connect(path, "rw")) as connection:
        definition = scalar(
            connection, "SELECT sql FROM sqlite_master WHERE name = 'ceramic_one_event'"
        )
        columns = query(connection, "SELECT name FROM pragma_table_info('ceramic_one_event')")[
            "name"
        ].to_pylist()
        names = ", ".join(["rowid", *columns])
        for statement in (
            "PRAGMA legacy_alter_table = ON",
            "ALTER TABLE ceramic_one_event RENAME TO unique_event",
            definition.replace("delivered INTEGER UNIQUE", "delivered INTEGER"),
            f"INSERT INTO ceramic_one_event ({names}) SELECT {names} FROM unique_event",
            "DROP TABLE unique_event",
        ):
            execute(connection, statement)
    return path


def deliver(path: Path) -> Path:
    """Number what can be delivered, parents first, above the highest number; `path`."""
    contents = read(path)
    numbers = {cid: number for cid, number in contents.numbers.items() if number is not None}
    waiting, number, order = deliverable(contents), contents.highest, []
    while waiting:
        ready = {cid for cid in waiting if contents.places[cid].prev in {None, *numbers}}
        for cid in sorted(ready):
            number += 1
            numbers[cid] = number
            order.append(cid)
        waiting -= ready
    rows = pa.record_batch(
        [pa.array([numbers[cid] for cid in order], pa.int64()), pa.array(order, pa.binary())],
        ["0", "1"],
    )
    with closing(connect(path, "rw")) as connection, connection.cursor() as cursor:
        cursor.executemany("UPDATE ceramic_one_event SET delivered = ? WHERE cid = ?", rows)
    return path


LOG = pa.schema([field.with_nullable(True) for field in ORDER])
"""The columns of a log, each of which a damaged one may lack."""

LogRow = dict[str, Any]


def log_rows(numbers: Mapping[str, int]) -> list[LogRow]:
    """The rows of a log that delivers these events of the world."""
    return [
        {
            "delivered": number,
            "cid": WORLD[name].cid,
            "stream": WORLD[name].init,
            "prev": WORLD[name].prev,
            "kind": WORLD[name].kind,
            "rowid": ROWIDS[name],
        }
        for name, number in numbers.items()
    ]


def left_rows(names: Iterable[str], reason: str) -> list[LogRow]:
    """The rows of a list of undelivered events of the world."""
    return [
        {
            "rowid": ROWIDS[name],
            "cid": WORLD[name].cid,
            "reason": reason,
            "stream": WORLD[name].init,
        }
        for name in names
    ]


def write_log(
    folder: Path,
    rows: Sequence[LogRow],
    *,
    waiting: Iterable[str] = WAITING,
    rejected: Iterable[str] = (),
) -> Path:
    """A log of two files, as a replay writes it, with its lists and its document; `folder`."""
    folder.mkdir()
    half = len(rows) // 2
    files = []
    for number, part in enumerate((rows[:half], rows[half:])):
        name = f"order-{number:05}.parquet"
        pq.write_table(pa.Table.from_pylist(list(part), schema=LOG), folder / name)
        files.append({"name": name, "events": len(part)})
    lists = {
        "waiting": left_rows(waiting, "prev missing"),
        "rejected": left_rows(rejected, "not an event"),
    }
    for name, left in lists.items():
        pq.write_table(pa.Table.from_pylist(left, schema=LEFT), folder / f"{name}.parquet")
    numbers = [row["delivered"] for row in rows if row["delivered"] is not None]
    document = {
        "delivered": len(rows),
        **{name: len(left) for name, left in lists.items()},
        "reasons": Counter(row["reason"] for left in lists.values() for row in left),
        "first_number": min(numbers, default=None),
        "last_number": max(numbers, default=None),
        "order_digest": order_digest(folder, folder),
        "files": files,
    }
    (folder / "replay.json").write_text(json.dumps(document))
    return folder
