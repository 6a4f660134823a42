"""Follow the paths of time events that have more steps than any tree of events.

Nothing keeps an event from having such a path, and a node follows it. One statement for each step
of all paths, as for the others, would take minutes for thousands of steps.
"""

import duckdb
import pyarrow as pa

from flows.verify.cids import multihash
from flows.verify.load import insert

_LARGEST_INDEX = (1 << 64) - 1
_LONGEST_INDEX = 20
"""Digits of that number; what has more is none, or begins with zeros."""

_WITNESS = pa.schema(
    [("id", pa.int64()), ("event", pa.uint64()), ("cid", pa.binary()), ("is_behind", pa.bool_())]
)
_NODES = """
    WITH wanted AS (SELECT DISTINCT block FROM listed SEMI JOIN long_path USING (event))
    SELECT multihash, list_transform($indices::BIGINT[], LAMBDA place: links[place + 1])
    FROM block_node
    WHERE hash(listed_cid(113, multihash)) IN (FROM wanted)
    OR hash(listed_cid(133, multihash)) IN (FROM wanted)
"""


def follow_long_paths(tables: duckdb.DuckDBPyConnection) -> None:
    """Add each step of the paths in `long_path` to `witness` (sql/facts/witness.sql)."""
    paths = tables.execute("SELECT id, event, cid, path FROM long_path").fetchall()
    if not paths:
        return
    # of a node, only the links at indices that some path has
    indices = sorted({_index(part) for *_, path in paths for part in path.split("/")} - {-1})
    small = [index for index in indices if index < 1 << 63]
    places = {index: place for place, index in enumerate(small)}
    nodes = dict(tables.execute(_NODES, {"indices": small}).fetchall())
    for event, listed_for, root, path in paths:
        cid, cids, parts = root, [], path.split("/")
        for part in parts:
            links = nodes.get(multihash(cid))
            place = places.get(_index(part))
            if links is None or place is None or links[place] is None:
                break
            cid = links[place]
            cids.append(cid)
        steps = len(cids)
        is_behind = [number == len(parts) for number in range(1, steps + 1)]
        columns = [[event] * steps, [listed_for] * steps, cids, is_behind]
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _WITNESS, strict=True)
        ]
        insert(tables, "witness", pa.table(arrays, schema=_WITNESS))


def _index(part: str) -> int:
    """A place in a node; -1: none."""
    digits = part.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        return -1
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _LONGEST_INDEX and int(digits) <= _LARGEST_INDEX else -1
