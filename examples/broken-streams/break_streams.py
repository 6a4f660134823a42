"""Break node.db as real databases are broken.

Events are lost with their blocks, and a disk returns zeros in place of a block.
"""

import sqlite3
from contextlib import closing

NTH_OF_STREAM = """
    WITH stream AS (
        SELECT cid FROM ceramic_one_event WHERE init_cid = cid ORDER BY rowid LIMIT 1 OFFSET ?
    )
    SELECT cid FROM ceramic_one_event WHERE init_cid = (SELECT cid FROM stream)
    ORDER BY rowid LIMIT 1 OFFSET ?
"""
LOSE_EVENT = "DELETE FROM ceramic_one_event WHERE cid = ?"
LOSE_LISTING = "DELETE FROM ceramic_one_event_block WHERE event_cid = ?"
LOSE_BLOCKS = """
    DELETE FROM ceramic_one_block
    WHERE multihash NOT IN (SELECT block_multihash FROM ceramic_one_event_block)
"""
DAMAGE = """
    UPDATE ceramic_one_block SET bytes = CAST(zeroblob(64) || substr(bytes, 65) AS BLOB)
    WHERE multihash = (
        SELECT block_multihash FROM ceramic_one_event_block WHERE event_cid = ? AND NOT root
    )
"""

LOST = [(0, 2), (1, 4), (1, 5)]
"""Stream and place in it of each lost event."""
DAMAGED = (2, 2)

with closing(sqlite3.connect("node.db")) as node, node:
    doomed = [node.execute(NTH_OF_STREAM, place).fetchone() for place in LOST]
    damaged = node.execute(NTH_OF_STREAM, DAMAGED).fetchone()
    for event in doomed:
        node.execute(LOSE_LISTING, event)
        node.execute(LOSE_EVENT, event)
    node.execute(LOSE_BLOCKS)
    node.execute(DAMAGE, damaged)
print(f"{len(doomed)} events are lost, one block is damaged")
