"""The shared blocks that have been read lately, found by the hash of their digests.

A block takes some 80 bytes, its place in the index included. When there are more than the budget
allows, those that have not been wanted for longest are dropped, or written to files.
"""

import os

import numpy as np
from numpy.typing import NDArray

from operators.check.usual import (
    ITEM_BITS,
    KEPT_ITEMS,
    KIND_SHIFT,
    NO_LINK,
    USUAL,
    Keys,
)
from operators.encoding.columns import alike
from operators.partitions import PartitionedFiles

BYTES_A_BLOCK = 93
"""Bytes of a block: 61 of the columns below, and at most 32 of the index."""

FEWEST_BLOCKS = 64
"""The fewest blocks that there is room for, whatever the budget."""

NONE = -1
"""Stands for the row of a block that is not kept."""

KeptRows = NDArray[np.int32]

_FIRST_INDEX_BITS = 12
_FORM_MASK = (1 << ITEM_BITS) - 1


class BlockStore:
    """Shared blocks as columns, by row; rows change when blocks are dropped."""

    def __init__(self, budget_bytes: int, overflow: PartitionedFiles | None = None) -> None:
        """Keep `budget_bytes`; `overflow` takes what is dropped, as records of type USUAL."""
        self.capacity = max(budget_bytes // BYTES_A_BLOCK, FEWEST_BLOCKS)
        self.kept = 0
        """How many blocks are kept."""
        self._overflow = overflow
        # memory that has not been written yet takes none
        self.key = np.empty((self.capacity, 2), dtype=np.uint64)
        self.items = np.empty((self.capacity, KEPT_ITEMS, 2), dtype=np.uint64)
        self.form = np.empty(self.capacity, dtype=np.uint8)
        self._child = np.empty((self.capacity, KEPT_ITEMS), dtype=np.int32)
        """The row of the block that an item links to, once it was looked for and found."""
        self._used = np.empty(self.capacity, dtype=np.int32)
        """The page of events that wanted it last."""
        self._page = 0
        # whoever makes blocks can't foresee their places in the index
        self._salt = np.uint64(int.from_bytes(os.urandom(8)) | 1)
        self._bits = _FIRST_INDEX_BITS
        self._index = np.zeros(1 << self._bits, dtype=np.uint32)
        """A hash table of rows plus one, at most a quarter full: half full it takes twice as long
        to search. 0: nothing is there."""

    def turn_page(self, coming: int) -> None:
        """Make room for the shared blocks that come with the next page of events: `coming` of them.

        Raises:
            SpillError: the scratch folder can't take what is dropped.
        """
        self._page += 1
        if self.kept + coming <= self.capacity:
            return
        # half of all at least, so that this is rarely needed
        excess = self.kept - max(0, min(self.capacity - coming, self.capacity // 2))
        if excess <= 0:
            return
        used = self._used[: self.kept]
        is_old = used <= np.partition(used, excess - 1)[excess - 1]
        if self._overflow is not None:
            self._write(self._overflow, self._records(np.flatnonzero(is_old)))
        self._keep_only(np.flatnonzero(~is_old))

    def add(self, records: NDArray[np.void]) -> None:
        """Keep these blocks; those for which there is no room are dropped or written.

        Raises:
            SpillError: the scratch folder can't take them.
        """
        order = np.lexsort((records["key"][:, 1], records["key"][:, 0]))
        key = records["key"][order]
        is_first = np.ones(len(order), dtype=np.bool_)
        is_first[1:] = ~alike(key[1:], key[:-1])
        new = order[is_first]
        new = new[self.find(records["key"][new]) == NONE]
        room = self.capacity - self.kept
        if len(new) > room and self._overflow is not None:
            self._write(self._overflow, records[new[room:]])
        new = new[:room]
        rows = np.arange(self.kept, self.kept + len(new), dtype=np.int32)
        self.key[rows] = records["key"][new]
        self.items[rows] = records["items"][new]
        self.form[rows] = records["form"][new]
        self._child[rows], self._used[rows] = NONE, self._page
        self.kept += len(new)
        self._enter(rows)

    def find(self, key: Keys) -> KeptRows:
        """The row of each of n blocks, NONE where it is not kept."""
        found = np.full(len(key), NONE, dtype=np.int32)
        at = np.arange(len(key))
        slot = self.hashes(key) >> np.uint64(64 - self._bits)
        while len(at):
            row = self._index[slot].astype(np.int64) - 1
            same = (row != NONE) & alike(self.key[row], key[at])
            found[at[same]] = row[same]
            others = (row != NONE) & ~same
            at, slot = at[others], self._next(slot[others])
        return found

    def child(self, rows: KeptRows, step: NDArray[np.uint8]) -> KeptRows:
        """The rows of the blocks that items of n blocks link to, NONE where they are not kept."""
        found = self._child[rows, step]
        unknown = np.flatnonzero(found == NONE)
        if len(unknown):
            its, item = rows[unknown], step[unknown]
            found[unknown] = self._child[its, item] = self.find(self.items[its, item])
        return found

    def use(self, rows: KeptRows) -> None:
        """Note that the page of events wants these blocks."""
        self._used[rows] = self._page

    def hashes(self, key: Keys) -> NDArray[np.uint64]:
        """Hashes of n keys, the same for as long as this store lives."""
        hashes: NDArray[np.uint64] = key[:, 0] * self._salt
        return hashes

    def _write(self, files: PartitionedFiles, records: NDArray[np.void]) -> None:
        files.add(records, self.hashes(records["key"]))

    def _records(self, rows: NDArray[np.intp]) -> NDArray[np.void]:
        records = np.empty(len(rows), dtype=USUAL)
        records["key"], records["items"] = self.key[rows], self.items[rows]
        records["form"] = self.form[rows]
        return records

    def _keep_only(self, rows: NDArray[np.intp]) -> None:
        # one more, so that NONE stays NONE
        moved = np.full(self.kept + 1, NONE, dtype=np.int32)
        moved[rows] = np.arange(len(rows))
        for column in (self.key, self.items, self.form, self._used):
            column[: len(rows)] = column[rows]
        self._child[: len(rows)] = moved[self._child[rows]]
        self.kept = len(rows)
        self._index[:] = 0
        self._enter(np.arange(self.kept, dtype=np.int32))

    def _enter(self, rows: KeptRows) -> None:
        """Put rows into the index, or all if it grows."""
        if 4 * self.kept > len(self._index):
            self._bits = max(self._bits, (4 * self.kept - 1).bit_length())
            self._index = np.zeros(1 << self._bits, dtype=np.uint32)
            rows = np.arange(self.kept, dtype=np.int32)
        entries = rows.astype(np.uint32) + np.uint32(1)
        slot = self.hashes(self.key[rows]) >> np.uint64(64 - self._bits)
        while len(entries):
            free = self._index[slot] == 0
            # of several entries for one place the last gets it
            self._index[slot[free]] = entries[free]
            others = self._index[slot] != entries
            entries, slot = entries[others], self._next(slot[others])

    def _next(self, slot: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return (slot + np.uint64(1)) & np.uint64(len(self._index) - 1)


def link_forms(form: NDArray[np.uint8], step: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The forms of one item of each of n blocks; NO_LINK for an item that is not kept."""
    item = np.minimum(step, KEPT_ITEMS - 1)
    forms = (form >> (np.uint8(ITEM_BITS) * item)) & np.uint8(_FORM_MASK)
    return np.where(step < KEPT_ITEMS, forms, np.uint8(NO_LINK))


def kinds(form: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The kinds of n blocks: NODE, PROOF or CAPABILITY."""
    kind: NDArray[np.uint8] = form >> np.uint8(KIND_SHIFT)
    return kind
