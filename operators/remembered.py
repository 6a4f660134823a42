"""Events by CID and stream, to know which were delivered: some 60 bytes an event in sorted columns.

A set of Python takes 150.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import hashes


class RememberedRun(NamedTuple):
    """Some events, sorted by the hashes of their CIDs."""

    word: NDArray[np.uint64]
    cid: pa.Array
    stream: pa.DictionaryArray


class Remembered:
    """A set of events.

    They are kept in runs, each at least twice as large as the next, so that each event is moved at
    most log2(n) times.
    """

    def __init__(self, runs: Iterable[RememberedRun] = ()) -> None:
        self.runs = [*runs]
        """Runs, the largest one first."""

    def __len__(self) -> int:
        return sum(len(run.word) for run in self.runs)

    def add(self, cid: pa.Array, stream: pa.DictionaryArray) -> None:
        """Remember n events, each with the CID of its stream."""
        if not len(cid):
            return
        runs = [RememberedRun(hashes(cid), cid, stream)]
        rows = len(cid)
        while self.runs and len(self.runs[-1].word) < 2 * rows:
            runs.append(self.runs.pop())
            rows += len(runs[-1].word)
        self.runs.append(_merged(runs))

    def holds(self, cid: pa.Array, stream: pa.Array, word: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of n events are among these: the same CID in the same stream.

        `word` are the `hashes` of the CIDs.
        """
        found = np.zeros(len(cid), dtype=np.bool_)
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
                # CIDs of the same hash stand side by side
                at[rows] += 1
                rows = rows[at[rows] < len(run.word)]
        return found


def _merged(runs: list[RememberedRun]) -> RememberedRun:
    word, cid, stream = (
        np.concatenate([run.word for run in runs]),
        *map(pa.concat_arrays, list(zip(*runs, strict=True))[1:]),
    )
    order = np.argsort(word, kind="stable")
    at = pa.array(order)
    return RememberedRun(word[order], cid.take(at), stream.take(at))
