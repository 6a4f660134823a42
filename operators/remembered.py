"""Events by CID and stream, to know which were delivered: some 60 bytes an event in sorted columns.

A set of Python takes 150.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import gather, spans

_WORD = 8


class _Run(NamedTuple):
    """Some events, sorted by the words of their CIDs."""

    word: NDArray[np.uint64]
    cid: pa.Array
    stream: pa.DictionaryArray


class Remembered:
    """A set of events.

    They are kept in runs, each at least twice as large as the next, so that each event is moved
    log2(n) times.
    """

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        """The largest first."""

    def __len__(self) -> int:
        return sum(len(run.word) for run in self.runs)

    def add(self, cid: pa.Array, stream: pa.DictionaryArray) -> None:
        """Remember n events, each with the CID of its stream."""
        if not len(cid):
            return
        runs = [_Run(_words(cid), cid, stream)]
        rows = len(cid)
        while self.runs and len(self.runs[-1].word) < 2 * rows:
            runs.append(self.runs.pop())
            rows += len(runs[-1].word)
        self.runs.append(_merged(runs))

    def holds(self, cid: pa.Array, stream: pa.Array) -> NDArray[np.bool_]:
        """Which of n events are among these: the same CID in the same stream."""
        found = np.zeros(len(cid), dtype=np.bool_)
        word = _words(cid)
        for run in self.runs:
            at = np.searchsorted(run.word, word)
            rows = np.flatnonzero(at < len(run.word))
            while len(rows := rows[run.word[at[rows]] == word[rows]]):
                mine, theirs = pa.array(rows), pa.array(at[rows])
                same = pc.and_(
                    pc.equal(cid.take(mine), run.cid.take(theirs)),
                    pc.equal(stream.take(mine), run.stream.take(theirs).dictionary_decode()),
                )
                found[rows[np.asarray(same)]] = True
                # CIDs that end in the same bytes stand side by side
                at[rows] += 1
                rows = rows[at[rows] < len(run.word)]
        return found


def _words(cid: pa.Array) -> NDArray[np.uint64]:
    """The last eight bytes of each of n CIDs, which are those of a digest; 0 if it is shorter."""
    data, start, end = spans(cid)
    word = np.zeros(len(cid), dtype=np.uint64)
    long = end - start >= _WORD
    word[long] = gather(data, end[long] - _WORD, _WORD).view(np.uint64)
    return word


def _merged(runs: list[_Run]) -> _Run:
    word, cid, stream = (
        np.concatenate([run.word for run in runs]),
        *map(pa.concat_arrays, list(zip(*runs, strict=True))[1:]),
    )
    order = np.argsort(word, kind="stable")
    at = pa.array(order)
    return _Run(word[order], cid.take(at), stream.take(at))
