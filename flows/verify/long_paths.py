"""Follows the paths of time events that have more steps than any tree of events needs.

An event may have such a path, and a node follows it. One SQL statement for each step, as shorter
paths have it, would take minutes for thousands of steps. So this holds the nodes of some events at
a time, and follows their paths one after the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from flows.verify.cids import multihash
from flows.verify.load import insert

BYTES_TOGETHER = 8 << 20
"""The most bytes of paths and links that are held at a time; those of one event may be more."""
ROWS_TOGETHER = 1 << 16
"""Steps that are written to a table at a time."""

_LARGEST_INDEX = (1 << 63) - 1
"""The largest index that is followed: no list is so long."""
_LONGEST_INDEX = 19
"""Digits of that number: without leading zeros no index has more."""

_WITNESS = pa.schema(
    [("id", pa.int64()), ("event", pa.uint64()), ("cid", pa.binary()), ("is_end", pa.bool_())]
)
_Step = tuple[int, int, bytes, bool]
"""A row of schema _WITNESS."""

# a link takes some 36 bytes, its place in the list 8
_SIZES = """
    WITH node AS (
        SELECT hash(listed_cid(codec, multihash)) AS block, 44 * len(links) AS size
        FROM block_node, (VALUES (113), (133)) AS written(codec)
    ), held AS (
        SELECT event, sum(size) AS size
        FROM listed SEMI JOIN long_path USING (event) JOIN node USING (block)
        GROUP BY event
    )
    SELECT id, strlen(path) + coalesce(size, 0)
    FROM long_path LEFT JOIN held USING (event) ORDER BY id
"""
_NODES = """
    WITH wanted AS (
        SELECT block FROM listed SEMI JOIN (
            SELECT event FROM long_path WHERE id BETWEEN $first AND $last
        ) USING (event)
    )
    SELECT multihash, places, links FROM block_node
    WHERE hash(listed_cid(113, multihash)) IN (FROM wanted)
    OR hash(listed_cid(133, multihash)) IN (FROM wanted)
"""
_PATHS = "SELECT id, event, cid, path FROM long_path WHERE id BETWEEN $first AND $last"


class _Node(NamedTuple):
    indices: np.ndarray[tuple[int], np.dtype[np.int64]]
    links: pa.BinaryArray

    def link(self, index: int) -> bytes | None:
        """The link of this index, None if there is none."""
        at = int(np.searchsorted(self.indices, index))
        if at == len(self.indices) or self.indices[at] != index:
            return None
        found: bytes = self.links[at].as_py()
        return found


def follow_long_paths(tables: duckdb.DuckDBPyConnection) -> None:
    """Add each step of the paths in `long_path` to `witness` (sql/facts/witness.sql)."""
    rows: list[_Step] = []
    for first, last in _ranges(tables.execute(_SIZES).fetchall()):
        ids = {"first": first, "last": last}
        nodes: dict[bytes, _Node] = {}
        for batch in tables.sql(_NODES, params=ids).to_arrow_reader():
            for key, places, links in zip(*batch.columns, strict=True):
                nodes[key.as_py()] = _Node(places.values.to_numpy(), links.values)
        for event, listed_for, root, path in tables.execute(_PATHS, ids).fetchall():
            for step in _followed(nodes, root, path):
                rows.append((event, listed_for, *step))
                if len(rows) == ROWS_TOGETHER:
                    _add(tables, rows)
    _add(tables, rows)


def _ranges(sizes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The first and last of ids that have at most BYTES_TOGETHER, or of a larger one."""
    first, held = 0, 0
    last: int | None = None
    for event, size in sizes:
        if last is not None and held + size > BYTES_TOGETHER:
            yield first, last
            last = None
        first, held = (event, size) if last is None else (first, held + size)
        last = event
    if last is not None:
        yield first, last


def _followed(nodes: dict[bytes, _Node], root: bytes, path: str) -> Iterator[tuple[bytes, bool]]:
    """The CID at each step, and whether the path ends there."""
    cid, begin = root, 0
    while begin <= len(path):
        end = path.find("/", begin)
        end = len(path) if end < 0 else end
        node, place = nodes.get(multihash(cid)), _index(path[begin:end])
        link = None if node is None or place is None else node.link(place)
        if link is None:
            return
        cid, begin = link, end + 1
        yield cid, begin > len(path)


def _add(tables: duckdb.DuckDBPyConnection, rows: list[_Step]) -> None:
    if rows:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(one, field.type) for one, field in zip(columns, _WITNESS, strict=True)]
        insert(tables, "witness", pa.table(arrays, schema=_WITNESS))
        rows.clear()


def _index(part: str) -> int | None:
    """The index that a part of a path stands for, None if it stands for none."""
    digits = part.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > _LONGEST_INDEX or int(digits) > _LARGEST_INDEX:
        return None
    return int(digits)
