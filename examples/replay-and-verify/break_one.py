"""Give an event of node.db that has a child a number that is larger than its child's."""

import sqlite3

import duckdb

from operators.encoding.cid import cid_text

PARENT = """
    WITH log AS (FROM 'order/order-*.parquet')
    SELECT min(prev) FROM log WHERE prev IN (SELECT cid FROM log)
"""

(parent,) = duckdb.execute(PARENT).fetchall()[0]
with sqlite3.connect("node.db") as node:
    node.execute(
        "UPDATE ceramic_one_event "
        "SET delivered = (SELECT max(delivered) + 1 FROM ceramic_one_event) WHERE cid = ?",
        [parent],
    )
print("broken:", cid_text(parent))
