"""Where values stand in a column: in a large one by a table of their last bytes, not by a hash."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import pieces, spans

Positions = NDArray[np.int64]

NOWHERE = -1

_KEY = 8
"""Bytes at the end of a value by which it is found; those of CIDs and multihashes are as good as
random, unless somebody has chosen them."""

FEW = 8192
"""In a column of so many values or fewer Arrow finds them by a hash, which is faster there: 0.16 ms
for 2,700 among as many, and 0.3 ms by the table. Among 60,000 it takes 9 ms, and 6 ms by the table.
"""

_SLOTS_A_VALUE = 4
"""Slots of the table, at least: then one value in fifteen meets another one in its slot, and is
found by a hash."""

_FEWEST_SLOTS = 1 << 12

_TOGETHER = 65_536
"""Values that are looked at together: each takes 100 bytes meanwhile. A page of events is fewer."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: the upper bits of a product with it depend on all bytes."""


class Index:
    """Finds binary values in one column."""

    def __init__(self, few: int = FEW) -> None:
        """Use the table in columns of more than `few` values."""
        self._few = few
        # a slot may hold what an earlier column has left there: what is found is compared
        self._table = np.zeros(0, dtype=np.int32)
        self._is_shared = np.zeros(0, dtype=np.bool_)
        self._shared_slots = np.zeros(0, dtype=np.int64)
        self.hold(pa.array([], pa.binary()))

    def hold(self, values: pa.Array) -> None:
        """Find in these values from now on; none of them is null."""
        self._values = values
        if len(values) <= self._few:
            return
        needed = max(_FEWEST_SLOTS, 1 << (_SLOTS_A_VALUE * len(values) - 1).bit_length())
        if len(self._table) < needed:
            self._table = np.zeros(needed, dtype=np.int32)
            self._is_shared = np.zeros(needed, dtype=np.bool_)
        else:
            self._is_shared[self._shared_slots] = False
        slots = np.concatenate(
            [
                np.zeros(0, dtype=np.int64),
                *(
                    self._slots(_keys(values[start : start + _TOGETHER]))
                    for start in range(0, len(values), _TOGETHER)
                ),
            ]
        )
        rows = np.arange(len(slots), dtype=np.int32)
        # of several in one slot the first gets it
        self._table[slots[::-1]] = rows[::-1]
        self._displaced = np.flatnonzero(self._table[slots] != rows)
        self._shared_slots = slots[self._displaced]
        self._is_shared[self._shared_slots] = True

    def find(self, wanted: pa.Array) -> Positions:
        """Where each of n values first stands; NOWHERE for others, and for null."""
        if len(self._values) <= self._few:
            by_hash = pc.index_in(wanted, value_set=self._values, skip_nulls=True)
            return np.asarray(by_hash.fill_null(NOWHERE)).astype(np.int64)
        found = np.full(len(wanted), NOWHERE, dtype=np.int64)
        if len(self._values):
            for start in range(0, len(wanted), _TOGETHER):
                self._find(wanted[start : start + _TOGETHER], found[start : start + _TOGETHER])
        return found

    def _find(self, wanted: pa.Array, found: Positions) -> None:
        slots = self._slots(_keys(wanted))
        at = np.minimum(self._table[slots], len(self._values) - 1)
        alike = pc.equal(self._values.take(pa.array(at)), wanted).fill_null(False)
        is_found = alike.to_numpy(zero_copy_only=False)
        found[is_found] = at[is_found]
        unsure = np.flatnonzero(~is_found & self._is_shared[slots])
        if len(unsure):
            values = self._values.take(pa.array(self._displaced))
            which = pc.index_in(wanted.take(pa.array(unsure)), value_set=values)
            hits = unsure[which.is_valid().to_numpy(zero_copy_only=False)]
            found[hits] = self._displaced[np.asarray(which.drop_null())]

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        bits = len(self._table).bit_length() - 1
        return ((keys * _FACTOR) >> np.uint64(64 - bits)).view(np.int64)


def _keys(values: pa.Array) -> NDArray[np.uint64]:
    """The keys of n values; a short value's key is its length."""
    data, start, end = spans(values)
    length = end - start
    if len(data) < _KEY:
        return length.astype(np.uint64)
    keys = pieces(data, np.maximum(end - _KEY, 0), _KEY).view(np.uint64)
    if len(length) and length.min() < _KEY:
        keys = np.where(length < _KEY, length.astype(np.uint64), keys)
    return keys
