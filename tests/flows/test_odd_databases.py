"""Databases that no node makes, but SQLite may: ordered like others, or refused."""

from pathlib import Path

import pytest

from connectors.claim import claim
from connectors.errors import CannotStartError
from flows.jobs.options import RunOptions
from flows.jobs.run import run
from flows.jobs.status import status
from tests.support.job import chain, store
from tests.support.oracle import check, read
from tests.support.other_programs import bytes_of
from tests.support.program import python
from tests.support.program import run as run_program

MADE_ANEW = """
import sqlite3, struct, sys
path, reserved = sys.argv[1], int(sys.argv[2])
with sqlite3.connect(path) as old:
    dump = "\\n".join(old.iterdump())
old.close()
for change in filter(None, sys.argv[3].split("|")):
    before, after = change.split(">")
    assert before in dump, before
    dump = dump.replace(before, after)
open(path, "w").close()
new = sqlite3.connect(path, isolation_level=None)
new.create_collation("mine", lambda one, other: (one > other) - (one < other))
new.create_function("mine", 1, bool, deterministic=True)
if reserved:
    new.execute("PRAGMA user_version=1")
    new.close()
    with open(path, "r+b") as file:
        page = bytearray(file.read())
        page[20] = reserved
        page[105:107] = struct.pack(">H", len(page) - reserved)
        file.seek(0)
        file.write(page)
    new = sqlite3.connect(path, isolation_level=None)
for statement in sys.argv[4:]:
    new.execute(statement)
new.executescript(dump)
new.execute("PRAGMA journal_mode=WAL")
new.close()
"""
"""Makes a database anew: with so many reserved bytes a page, its definitions changed (`from>to`,
between bars), and after these statements."""

UNIQUE = "delivered INTEGER UNIQUE"
TABLE = "ceramic_one_event"
MORE = f"""
    CREATE INDEX a ON {TABLE} (delivered DESC); CREATE INDEX b ON {TABLE} (delivered, cid);
    CREATE INDEX c ON {TABLE} (cid) WHERE delivered IS NULL; ANALYZE;
"""
EVENTS = [
    event
    for streams in zip(*(chain(9, seed) for seed in range(3)), strict=True)
    for event in streams
]


def made_anew(path: Path, changes: str, *statements: str, reserved: int = 0) -> Path:
    store(path, EVENTS[::-1])
    run_program(python("-c", MADE_ANEW, path, reserved, changes, *statements))
    return path


@pytest.mark.parametrize(
    ("changes", "statements", "reserved"),
    [
        ("", ["PRAGMA page_size=512", "PRAGMA auto_vacuum=1"], 0),
        ("", ["PRAGMA page_size=65536", "PRAGMA auto_vacuum=2"], 0),
        ("", ["PRAGMA encoding='UTF-16be'", "PRAGMA application_id=7"], 0),
        ("", [], 32),
        (f"{UNIQUE}>delivered INTEGER|order_key BLOB NOT NULL UNIQUE>order_key BLOB", [], 0),
        (f"{UNIQUE}>delivered INTEGER COLLATE NOCASE UNIQUE|codec INTEGER>CODEC INTEGER", [], 0),
        (f"{UNIQUE}>delivered NUMERIC DEFAULT 7 UNIQUE ON CONFLICT REPLACE", [], 0),
        (
            f"COMMIT;>{MORE} COMMIT;",
            [],
            0,
        ),
    ],
    ids=["small pages", "large pages", "UTF-16", "reserved", "few indices", "case", "type", "more"],
)
def test_an_odd_database_is_ordered_as_any_other(
    tmp_path: Path, changes: str, statements: list[str], reserved: int
) -> None:
    usual = store(tmp_path / "usual.db", EVENTS[::-1])
    odd = made_anew(tmp_path / "odd.db", changes, *statements, reserved=reserved)
    before = read(odd)
    run(usual, RunOptions())
    run(odd, RunOptions())
    assert len(check(before, read(odd))) == len(EVENTS) - 3
    assert read(odd).numbers == read(usual).numbers


@pytest.mark.parametrize(
    "column",
    [
        " cid BLOB NOT NULL",
        "order_key BLOB NOT NULL",
        "delivered INTEGER",
        " multihash BLOB NOT NULL",
        "event_cid BLOB NOT NULL",
    ],
)
def test_a_collation_of_another_program_is_refused(tmp_path: Path, column: str) -> None:
    path = made_anew(tmp_path / "node.db", f"{column}>{column} COLLATE mine")
    before = bytes_of(tmp_path)
    for use in (claim, status):
        with pytest.raises(CannotStartError, match="no such collation sequence: mine"):
            use(path)
    assert bytes_of(tmp_path) == before


def test_a_function_of_another_program_is_refused_where_numbers_need_it(tmp_path: Path) -> None:
    index = f"CREATE INDEX odd ON {TABLE} (cid) WHERE mine(delivered)"
    path = made_anew(tmp_path / "node.db", f"COMMIT;>{index}; COMMIT;")
    before = bytes_of(tmp_path)
    with pytest.raises(CannotStartError, match="function: mine"):
        claim(path)
    assert status(path).undelivered == len(EVENTS) - 3
    assert bytes_of(tmp_path) == before
