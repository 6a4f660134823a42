"""A program that inserts events into a database that is being followed, as an ingest pipeline does.

    python ingest.py DATABASE WHOLE SEED SECONDS

It copies all rows of the database WHOLE to DATABASE, in random order: children before parents,
blocks long after their events, at rowids of its own, some events twice because they are deleted
and inserted again. Now and then it takes the WAL in, stores all rows anew, which moves them, or
changes the schema. It spreads this over so many seconds, and leaves nothing out. A stream comes
within a minute, so that after an hour as much waits as after a minute. All events come
undelivered. It imports nothing of ours: two SQLite libraries in one process drop each other's
locks.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from random import Random

EVENT = """
    INSERT INTO ceramic_one_event ({}order_key, cid, init_cid, discovered,
      ahash_0, ahash_1, ahash_2, ahash_3, ahash_4, ahash_5, ahash_6, ahash_7)
    SELECT {}order_key, cid, init_cid, discovered,
      ahash_0, ahash_1, ahash_2, ahash_3, ahash_4, ahash_5, ahash_6, ahash_7
    FROM whole.ceramic_one_event WHERE cid = :cid
"""
BLOCKS = """
    INSERT OR IGNORE INTO ceramic_one_block (multihash, bytes)
    SELECT multihash, bytes FROM whole.ceramic_one_block JOIN whole.ceramic_one_event_block
      ON multihash = block_multihash WHERE event_cid = :cid
"""
EVENT_BLOCKS = """
    INSERT OR IGNORE INTO ceramic_one_event_block (event_cid, block_multihash, codec, idx, root)
    SELECT event_cid, block_multihash, codec, idx, root
    FROM whole.ceramic_one_event_block WHERE event_cid = :cid
"""
UPKEEP = (
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "VACUUM",
    "CREATE TABLE IF NOT EXISTS other (value)",
    "DROP TABLE IF EXISTS other",
)
UPKEEP_SHARE = 0.01
"""Of the transactions."""
STREAM_SECONDS = 60.0
"""In which the events of a stream come."""
DELETE = "DELETE FROM ceramic_one_event WHERE cid = :cid AND delivered IS NULL"
HAS = "SELECT count(*) FROM ceramic_one_event WHERE {} = ?"

Step = Callable[[], None]


def main(database: str, whole: str, seed: str, seconds: str) -> None:
    """Insert everything."""
    rng = Random(seed)  # to be repeated
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("ATTACH ? AS whole", (whole,))
    steps = _steps(connection, rng, min(1.0, STREAM_SECONDS / float(seconds)))
    pause = float(seconds) / max(1, len(steps))
    started = time.monotonic()
    done = 0
    while done < len(steps):
        # a transaction holds one step or some
        some = steps[done : done + rng.choice((1, 1, 5, 40))]
        connection.execute("BEGIN IMMEDIATE")
        for step in some:
            step()
        connection.execute("COMMIT")
        done += len(some)
        if rng.random() < UPKEEP_SHARE:
            connection.execute(rng.choice(UPKEEP))
        time.sleep(max(0.0, started + done * pause - time.monotonic()))


def _steps(connection: sqlite3.Connection, rng: Random, share: float) -> list[Step]:
    """What is done, in this order; a stream comes within this share of the time."""
    events = connection.execute("SELECT cid, init_cid FROM whole.ceramic_one_event").fetchall()
    start = {stream: rng.uniform(0, 1 - share) for _, stream in events}
    timed: list[tuple[float, Step]] = []

    def at(moment: float, sql: str, cid: bytes) -> None:
        timed.append((moment, lambda: _execute(connection, sql, cid, rng)))

    for cid, stream in events:
        (is_there,) = connection.execute(HAS.format("cid"), (cid,)).fetchone()
        moment = start[stream] + share * rng.random()
        if not is_there:
            at(moment, EVENT, cid)
            if rng.random() < 0.1:  # deleted while it may be waiting, and back
                at(moment + 0.1 * share, DELETE, cid)
                at(moment + 0.2 * share, "again", cid)
        for sql in (BLOCKS, EVENT_BLOCKS):
            # most blocks come with their event, some before it, some long after it
            at(moment + share * rng.choice((0, 0, 0, -0.2, 0.3)), sql, cid)
    timed.sort(key=lambda step: step[0])
    return [step for _, step in timed]


def _execute(connection: sqlite3.Connection, sql: str, cid: bytes, rng: Random) -> None:
    if sql == "again":
        if connection.execute(HAS.format("cid"), (cid,)).fetchone() != (0,):
            return
        sql = EVENT
    if sql == EVENT:
        rowid = rng.randrange(1, 10**6)
        is_free = connection.execute(HAS.format("rowid"), (rowid,)).fetchone() == (0,)
        # as SQLite chooses, or anywhere
        named = ("rowid, ", f"{rowid}, ") if is_free and rng.random() < 0.3 else ("", "")
        sql = EVENT.format(*named)
    connection.execute(sql, {"cid": cid})


if __name__ == "__main__":
    main(*sys.argv[1:])
