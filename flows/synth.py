"""Write a synthetic database: the tables of a ceramic-one node, with synthetic events in them.

create_database(path, *, schema_version="v0.38") -> ADBC connection
insert_events(connection, events, delivered=None) -> None
"""

from collections.abc import Sequence
from hashlib import sha256, sha384
from pathlib import Path
from struct import unpack
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from connectors.database import connect, execute, query, scalar
from flows.synthetic import Event

SchemaVersion = Literal["v0.30", "v0.36", "v0.38"]
"""The node's version whose event table is made: `init_cid` and `informant` came with v0.36, `is_time_event` with v0.38."""


class Migration(NamedTuple):
    """One step of the schema, as the node's `_sqlx_migrations` names it."""

    version: int
    description: str
    statements: tuple[str, ...]


_BLOCK = Migration(
    20240321211121,
    "block",
    ("CREATE TABLE ceramic_one_block (multihash BLOB NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (multihash))",),
)
_EVENT = Migration(
    20240321211311,
    "event",
    (
        """CREATE TABLE ceramic_one_event (
          order_key BLOB NOT NULL UNIQUE,
          ahash_0 INTEGER NOT NULL, ahash_1 INTEGER NOT NULL, ahash_2 INTEGER NOT NULL, ahash_3 INTEGER NOT NULL,
          ahash_4 INTEGER NOT NULL, ahash_5 INTEGER NOT NULL, ahash_6 INTEGER NOT NULL, ahash_7 INTEGER NOT NULL,
          cid BLOB NOT NULL, discovered TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, delivered INTEGER UNIQUE,
          PRIMARY KEY (cid))""",
    ),
)
_EVENT_BLOCK = Migration(
    20240321211325,
    "event block",
    (
        """CREATE TABLE ceramic_one_event_block (
          event_cid BLOB NOT NULL, block_multihash BLOB NOT NULL,
          codec INTEGER NOT NULL, idx INTEGER NOT NULL, "root" BOOL NOT NULL,
          PRIMARY KEY (event_cid, block_multihash),
          FOREIGN KEY (event_cid) REFERENCES ceramic_one_event (cid),
          FOREIGN KEY (block_multihash) REFERENCES ceramic_one_block (multihash))""",
        "CREATE INDEX idx_ceramic_one_event_block_block_multihash ON ceramic_one_event_block (block_multihash)",
    ),
)
_INIT_CID = Migration(
    20240809205107,
    "event init cid informant",
    (
        "ALTER TABLE ceramic_one_event ADD COLUMN init_cid BLOB DEFAULT NULL",
        "ALTER TABLE ceramic_one_event ADD COLUMN informant TEXT DEFAULT NULL",
    ),
)
_IS_TIME_EVENT = Migration(
    20240809205108,
    "event is time event",
    ("ALTER TABLE ceramic_one_event ADD COLUMN is_time_event BOOLEAN DEFAULT FALSE",),
)
_MIGRATIONS: dict[SchemaVersion, tuple[Migration, ...]] = {
    "v0.30": (_BLOCK, _EVENT, _EVENT_BLOCK),
    "v0.36": (_BLOCK, _EVENT, _EVENT_BLOCK, _INIT_CID),
    "v0.38": (_BLOCK, _EVENT, _EVENT_BLOCK, _INIT_CID, _IS_TIME_EVENT),
}

DISCOVERED = "2025-01-01 00:00:00"
"""When all synthetic events were discovered: a fixed time, so that the same options make the same rows."""

EVENT_ROWS = pa.schema(
    [
        pa.field("order_key", pa.binary(), nullable=False),
        *(pa.field(f"ahash_{word}", pa.int64(), nullable=False) for word in range(8)),  # SHA-256 of the order_key
        pa.field("cid", pa.binary(), nullable=False),
        pa.field("delivered", pa.int64()),  # null: not delivered
        pa.field("init_cid", pa.binary(), nullable=False),
        pa.field("is_time_event", pa.int64(), nullable=False),  # 0 or 1
    ]
)
LISTED_ROWS = pa.schema(
    [
        pa.field("event_cid", pa.binary(), nullable=False),
        pa.field("block_multihash", pa.binary(), nullable=False),
        pa.field("codec", pa.int64(), nullable=False),
        pa.field("idx", pa.int64(), nullable=False),
        pa.field("root", pa.int64(), nullable=False),  # 0 or 1
    ]
)
BLOCK_ROWS = pa.schema(
    [
        pa.field("multihash", pa.binary(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)


def create_database(path: Path, *, schema_version: SchemaVersion = "v0.38") -> Any:
    """Create a database in WAL mode without events, and return its open connection (in autocommit mode)."""
    connection = connect(path, "rwc")
    execute(connection, "PRAGMA page_size=4096")
    execute(connection, "PRAGMA journal_mode=WAL")
    execute(
        connection,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,"
        " installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL,"
        " execution_time BIGINT NOT NULL)",
    )
    for version, description, statements in _MIGRATIONS[schema_version]:
        for statement in statements:
            execute(connection, statement)
        # the checksum is of our own text, so a node refuses to start on a synthetic database
        checksum = sha384("".join(statements).encode()).digest()
        row = (version, description, DISCOVERED, checksum)
        query(connection, "INSERT INTO _sqlx_migrations VALUES (?, ?, ?, TRUE, ?, 0) RETURNING version", row)
    return connection


def insert_events(connection: Any, events: Sequence[Event], delivered: Sequence[int | None] | None = None) -> None:
    """Insert events in the given order, each with its blocks beside it, in one transaction; a shared block is stored once.

    `delivered` is the number of each event, None for not delivered. Without it, init events get the next numbers and all others
    none, as when a node stores events. Columns that the database's version does not have are left out.
    """
    if delivered is None:
        delivered = _number_inits(events, 1 + (scalar(connection, "SELECT max(delivered) FROM ceramic_one_event") or 0))
    present = set(query(connection, "SELECT name FROM pragma_table_info('ceramic_one_event')").column("name").to_pylist())
    execute(connection, "BEGIN IMMEDIATE")
    try:
        _insert(connection, "ceramic_one_block", block_rows(events))
        rows = event_rows(events, delivered)
        _insert(connection, "ceramic_one_event", rows.select([name for name in rows.schema.names if name in present]))
        _insert(connection, "ceramic_one_event_block", listed_rows(events))
    except BaseException:
        execute(connection, "ROLLBACK")
        raise
    execute(connection, "COMMIT")


def _number_inits(events: Sequence[Event], number: int) -> list[int | None]:
    numbers: list[int | None] = []
    for event in events:
        numbers.append(number if event.prev is None else None)
        number += event.prev is None
    return numbers


def _insert(connection: Any, table: str, rows: pa.RecordBatch) -> None:
    names = rows.schema.names
    columns, values = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    if table == "ceramic_one_event":
        columns, values = f"discovered, {columns}", f"'{DISCOVERED}', {values}"
    # a block that an earlier batch has stored is the one thing that may be there already
    verb = "INSERT OR IGNORE" if table == "ceramic_one_block" else "INSERT"
    with connection.cursor() as cursor:
        cursor.executemany(f"{verb} INTO {table} ({columns}) VALUES ({values})", rows)


def event_rows(events: Sequence[Event], delivered: Sequence[int | None]) -> pa.RecordBatch:
    """The rows of the event table (`EVENT_ROWS`)."""
    order_keys = [event.order_key for event in events]
    words = zip(*(unpack("<8I", sha256(key).digest()) for key in order_keys), strict=True) if events else [()] * 8
    columns: list[Any] = [
        order_keys,
        *words,
        [event.cid for event in events],
        list(delivered),
        [event.stream.cid for event in events],
        [int(event.kind == "time") for event in events],
    ]
    return _batch(columns, EVENT_ROWS)


def listed_rows(events: Sequence[Event]) -> pa.RecordBatch:
    """The rows that list each event's blocks (`LISTED_ROWS`)."""
    rows = [
        (event.cid, block.multihash, block.codec, index, int(block.is_root))
        for event in events
        for index, block in enumerate(event.blocks)
    ]
    return _batch(list(zip(*rows, strict=True)) or [()] * 5, LISTED_ROWS)


def block_rows(events: Sequence[Event]) -> pa.RecordBatch:
    """The rows of the block table (`BLOCK_ROWS`), a block that several of these events share only once."""
    blocks = {block.multihash: block.content for event in events for block in event.blocks}
    return _batch([list(blocks.keys()), list(blocks.values())], BLOCK_ROWS)


def _batch(columns: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
