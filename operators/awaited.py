"""What the events that a flow left wait for, while it follows a database.

An event that waits names what lies above all of them that wait with it: the prev that is missing,
or the event that is rejected. So an event that is delivered releases all that is below it at once,
without a look-up for each.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import hashes
from operators.schemas import WAITING, Reason

Rowids = NDArray[np.int64]
"""Rising, and distinct."""
Hashes = NDArray[np.uint64]
"""Hashes of CIDs. Where two CIDs have the same hash, an event is checked once more than needed."""
Indices = NDArray[np.intp]
Entries = NDArray[np.void]

ENTRY = np.dtype([("rowid", "i8"), ("cid", "u8"), ("cause", "u8"), ("reason", "u1")])
"""One event that was left: 25 bytes. `reason` is an index into REASONS."""

READ = np.dtype([("rowid", "i8"), ("cid", "u8")])
"""One event that was read."""

REASONS = tuple(Reason)
_REASON_NAMES = pa.array([str(reason) for reason in REASONS])
_WAITS = np.array([reason in WAITING for reason in REASONS])
_PREV_REJECTED = REASONS.index(Reason.PREV_REJECTED)

NOTHING = np.empty(0, dtype=ENTRY)


class Awaited:
    """The events that were left, by rowid, and what each of them waits for."""

    def __init__(self, most: int) -> None:
        """Keep so many events at most; beyond that nothing is kept (`is_full`)."""
        self._most = most
        self._entries = NOTHING
        self._noted: list[Entries] = []
        self.is_full = False

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, left: pa.RecordBatch) -> None:
        """Note events that a flow has left, of schema LEFT; they count from `end_round` on."""
        if self.is_full:
            return
        self._noted.append(_entries(left))
        if len(self._entries) + sum(map(len, self._noted)) > self._most:
            self.clear()
            self.is_full = True

    def clear(self) -> None:
        """Forget everything."""
        self._entries, self._noted, self.is_full = NOTHING, [], False

    def end_round(self, given: Rowids, read: Entries) -> Rowids:
        """Count what a flow has noted for some events.

        Args:
            given: the rows that it was given.
            read: those of them that were there, of type READ; all that it has not left are
                delivered.

        Returns:
            The events that waited for what was delivered.
        """
        noted = np.concatenate([NOTHING, *self._noted])
        noted = noted[np.argsort(noted["rowid"], kind="stable")]
        self._noted = []
        others = np.delete(self._entries, self._rows(given))
        _hang_below(noted, others)
        _hang_below(others, noted)
        at = np.searchsorted(others["rowid"], noted["rowid"])
        self._entries = np.insert(others, at, noted)
        delivered = read["cid"][~np.isin(read["rowid"], noted["rowid"])]
        return self._rowids(_is_in(self._entries["cause"], delivered))

    def rejected(self, keys: Hashes) -> Rowids:
        """The events that were rejected and are, or wait for, one of these."""
        of_these = _is_in(self._entries["cid"], keys) | _is_in(self._entries["cause"], keys)
        return self._rowids(of_these & ~_WAITS[self._entries["reason"]])

    def has_rejected(self) -> bool:
        """Whether an event was rejected."""
        return not _WAITS[self._entries["reason"]].all()

    def known(self, rowids: Rowids) -> Rowids:
        """Which of these rows are among those that were left."""
        return self._entries["rowid"][self._rows(rowids)]

    def differences(self, undelivered: Rowids) -> Rowids:
        """The rows that only one side has: those left, or these, which are all undelivered ones."""
        return np.setxor1d(self._entries["rowid"], undelivered, assume_unique=True)

    def after(self, rowid: int, rows: int) -> Rowids:
        """The first `rows` of the events that were left after a rowid."""
        first = int(np.searchsorted(self._entries["rowid"], rowid, side="right"))
        return self._entries["rowid"][first : first + rows].copy()

    def counts(self) -> Counter[str]:
        """How many events were left, by reason."""
        counts = np.bincount(self._entries["reason"], minlength=len(REASONS)).tolist()
        return +Counter(dict(zip(map(str, REASONS), counts, strict=True)))

    def _rows(self, rowids: Rowids) -> Indices:
        """The indices of those of these rowids that are kept."""
        at = np.searchsorted(self._entries["rowid"], rowids)
        at = at[at < len(self._entries)] if len(self._entries) else at[:0]
        found: Indices = at[self._entries["rowid"][at] == rowids[: len(at)]]
        return found

    def _rowids(self, mask: NDArray[np.bool_]) -> Rowids:
        return self._entries["rowid"][mask]


def read_entries(rowid: pa.Array, cid: pa.Array) -> Entries:
    """Events as type READ."""
    read = np.empty(len(rowid), dtype=READ)
    read["rowid"], read["cid"] = np.asarray(rowid), hashes(cid)
    return read


def _entries(left: pa.RecordBatch) -> Entries:
    """Events of schema LEFT as type ENTRY, sorted by rowid.

    A rejected event waits for its own blocks, or where its prev is in another stream, for its prev.
    """
    entries = np.empty(left.num_rows, dtype=ENTRY)
    entries["rowid"] = np.asarray(left["rowid"])
    entries["cid"] = hashes(left["cid"])
    entries["cause"] = hashes(pc.coalesce(left["cause"], left["prev"], left["cid"]))
    entries["reason"] = np.asarray(pc.index_in(left["reason"], value_set=_REASON_NAMES))
    return entries


def _hang_below(lower: Entries, upper: Entries) -> None:
    """Where events wait for one of `upper`, let them wait for what that one waits for."""
    above = _rows_in(lower["cause"], upper["cid"])
    rows = np.flatnonzero((above >= 0) & _WAITS[lower["reason"]])
    above = above[rows]
    waits = _WAITS[upper["reason"][above]]
    lower["reason"][rows[~waits]] = _PREV_REJECTED
    rows, above = rows[waits], above[waits]
    lower["cause"][rows], lower["reason"][rows] = upper["cause"][above], upper["reason"][above]


def _rows_in(wanted: Hashes, values: Hashes) -> Indices:
    """For each of n hashes a row of `values` that has it; -1: there is none."""
    found = np.full(len(wanted), -1, dtype=np.intp)
    rows = np.flatnonzero(_is_in(wanted, values))
    if not len(rows):
        return found
    among = np.flatnonzero(_is_in(values, wanted[rows]))
    among = among[np.argsort(values[among], kind="stable")]
    found[rows] = among[np.searchsorted(values[among], wanted[rows])]
    return found


def _is_in(values: Hashes, wanted: Hashes) -> NDArray[np.bool_]:
    """Which of n hashes are among some others.

    The shorter of the two is sorted, and the other one is passed over once.
    """
    if len(wanted) > len(values):
        wanted = wanted[_is_in(wanted, values)]
    if not len(wanted):
        return np.zeros(len(values), dtype=np.bool_)
    distinct = np.unique(wanted)
    at = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    found: NDArray[np.bool_] = distinct[at] == values
    return found
