"""Fetch the events whose CIDs come on stdin, one a line, from other.db into node.db."""

import sqlite3
import sys
from contextlib import closing

from operators.encoding.cid import parse_cid

BLOCKS = """
    INSERT OR REPLACE INTO ceramic_one_block SELECT * FROM other.ceramic_one_block
    WHERE multihash IN (
        SELECT block_multihash FROM other.ceramic_one_event_block WHERE event_cid = ?
    )
"""
EVENT = (
    "INSERT OR IGNORE INTO ceramic_one_event SELECT * FROM other.ceramic_one_event WHERE cid = ?"
)
LISTING = """
    INSERT OR IGNORE INTO ceramic_one_event_block
    SELECT * FROM other.ceramic_one_event_block WHERE event_cid = ?
"""

with closing(sqlite3.connect("node.db")) as node:
    node.execute("ATTACH 'other.db' AS other")
    with node:
        fetched = [(parse_cid(line),) for line in sys.stdin]
        for statement in (BLOCKS, EVENT, LISTING):
            node.executemany(statement, fetched)
print(f"{len(fetched)} fetched")
