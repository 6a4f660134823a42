"""The event tables of a ceramic-one node, as its migrations make them."""

from typing import Literal, NamedTuple

SchemaVersion = Literal["v0.30", "v0.36", "v0.38"]
"""The node's version whose event table is made: `init_cid` and `informant` came with v0.36,
`is_time_event` with v0.38."""


class Migration(NamedTuple):
    """One step of the schema, as the node's `_sqlx_migrations` names it."""

    version: int
    description: str
    statements: tuple[str, ...]


_BLOCK = Migration(
    20240321211121,
    "block",
    (
        """CREATE TABLE ceramic_one_block (
          multihash BLOB NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (multihash))""",
    ),
)
_EVENT = Migration(
    20240321211311,
    "event",
    (
        """CREATE TABLE ceramic_one_event (
          order_key BLOB NOT NULL UNIQUE,
          ahash_0 INTEGER NOT NULL, ahash_1 INTEGER NOT NULL,
          ahash_2 INTEGER NOT NULL, ahash_3 INTEGER NOT NULL,
          ahash_4 INTEGER NOT NULL, ahash_5 INTEGER NOT NULL,
          ahash_6 INTEGER NOT NULL, ahash_7 INTEGER NOT NULL,
          cid BLOB NOT NULL, discovered TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
          delivered INTEGER UNIQUE,
          PRIMARY KEY (cid))""",
    ),
)
LISTED_BLOCKS = "idx_ceramic_one_event_block_block_multihash"
CREATE_LISTED_BLOCKS = f"CREATE INDEX {LISTED_BLOCKS} ON ceramic_one_event_block (block_multihash)"
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
        CREATE_LISTED_BLOCKS,
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
MIGRATIONS: dict[SchemaVersion, tuple[Migration, ...]] = {
    "v0.30": (_BLOCK, _EVENT, _EVENT_BLOCK),
    "v0.36": (_BLOCK, _EVENT, _EVENT_BLOCK, _INIT_CID),
    "v0.38": (_BLOCK, _EVENT, _EVENT_BLOCK, _INIT_CID, _IS_TIME_EVENT),
}
"""What a node of each version has run, as far as events go."""
