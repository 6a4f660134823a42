"""Settle: which waiting events can be delivered now, and in which order.

Pure arithmetic on row indices.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.columns import Mask, Rows
from operators.encoding.positions import NOWHERE, Index

NONE = NOWHERE
"""The index of a row that is not there."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How a table of n waiting events is cut in two."""

    order: Rows
    """The rows that can be delivered: parents first, rowids rising as far as that allows."""
    depth: NDArray[np.int32]
    """Of each row in `order`, how many of its ancestors are in the table."""
    stuck: Rows
    """The other rows, in the order of the table."""
    topmost: Rows
    """Of each of the n rows the topmost ancestor in the table; the row itself if it has no parent
    there; NONE in or below a cycle."""


def parent_rows(cid: pa.Array, prev: pa.Array) -> Rows:
    """For each of n events the row of its parent among the same n; NONE: there is none."""
    index = Index()
    index.hold(cid)
    return index.find(prev)


def settle(rowid: Rows, parent: Rows, ready: Mask) -> Settled:
    """Cut n waiting events into those that can be delivered and those that still wait.

    Args:
        rowid: of each event, any distinct numbers.
        parent: of each event the row of its parent, NONE if it is not among them.
        ready: of each event without a parent here, whether it may be delivered: it is an init
            event, or its prev is delivered.

    All chains are climbed at once by pointer doubling: each round doubles the distance that every
    row has climbed, so there are log2 of the longest chain many, and a row that has not arrived
    after log2(n) rounds never will: it hangs on a cycle.

    An event's last rowid is the largest on its way up: there a reader of the rows in order has seen
    it and all its ancestors. Ordered by that and then by depth, parents come first, and rows that
    lie parents first keep their order.
    """
    topmost = np.where(parent == NONE, np.arange(len(parent)), parent)
    depth = (parent != NONE).astype(np.int32)
    last_rowid = rowid.astype(np.int64)
    for _ in range(len(parent).bit_length()):
        above = topmost[topmost]
        np.maximum(last_rowid, last_rowid[topmost], out=last_rowid)
        if np.array_equal(above, topmost):
            break
        depth += depth[topmost]
        topmost = above
    topmost = np.where(parent[topmost] == NONE, topmost, NONE)
    deliverable = (topmost != NONE) & ready[topmost]
    rows = np.flatnonzero(deliverable)
    rows = rows[_by_last_rowid(last_rowid[rows], depth[rows])]
    return Settled(rows, depth[rows], np.flatnonzero(~deliverable), topmost)


def _by_last_rowid(last_rowid: Rows, depth: NDArray[np.int32]) -> Rows:
    """The stable order by last rowid, then depth: one key of both sorts twice as fast as two."""
    if not len(last_rowid):
        return np.zeros(0, dtype=np.int64)
    levels = int(depth.max()) + 1
    largest = max(abs(int(last_rowid.min())), abs(int(last_rowid.max()))) + 1
    if largest * levels < np.iinfo(np.int64).max:
        return np.argsort(last_rowid * levels + depth, kind="stable")
    return np.lexsort((depth, last_rowid))
