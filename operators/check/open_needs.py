"""What some events of a batch need of blocks that are not kept: these events stay open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.check.needs import MET, NEED, UNKNOWN, UNMET, Needs, answers_of_store
from operators.check.store import BlockStore
from operators.check.usual import SHA2_256
from operators.encoding.columns import DIGEST, Mask, Rows


@dataclass(frozen=True, slots=True)
class OpenNeeds:
    """What some events need of blocks that are not kept, one need a row."""

    rows: Rows
    """Of the event of each need, in the batch."""
    needs: Needs

    @classmethod
    def none(cls) -> Self:
        """No event is open."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=NEED))

    @classmethod
    def concatenated(cls, each: Sequence[Self]) -> Self:
        """The needs of all these."""
        if not each:
            return cls.none()
        return cls(
            np.concatenate([some.rows for some in each]),
            np.concatenate([some.needs for some in each]),
        )

    def only(self, which: Mask) -> Self:
        """Those events all of whose needs are among these."""
        dropped = np.unique(self.rows[~which])
        kept = ~np.isin(self.rows, dropped)
        return type(self)(self.rows[kept], self.needs[kept])

    def of_blocks(self, multihashes: set[bytes]) -> Mask:
        """Which needs are of one of these blocks."""
        wanted = pa.array([key[len(SHA2_256) :] for key in multihashes], pa.binary(DIGEST))
        digest = np.ascontiguousarray(self.needs["digest"])
        column = pa.Array.from_buffers(
            pa.binary(DIGEST), len(self.needs), [None, pa.py_buffer(digest)]
        )
        which: Mask = np.asarray(pc.is_in(column, value_set=wanted))
        return which

    def by_row(self) -> Self:
        """The same in the order of the batch."""
        order = np.argsort(self.rows, kind="stable")
        return type(self)(self.rows[order], self.needs[order])

    def pass_met(self, answers: NDArray[np.int8], passed: Mask) -> None:
        """Pass the events all of whose needs are met."""
        passed[self.rows] = True
        passed[self.rows[answers != MET]] = False


def pass_met(store: BlockStore, rows: Rows, needs: Needs, passed: Mask) -> OpenNeeds:
    """Pass those of n events whose needs, of shape (n, m), are met; what stays open."""
    answers = answers_of_store(needs.reshape(-1), store).reshape(needs.shape)
    passed[rows[(answers == MET).all(axis=1)]] = True
    is_open = (answers == UNKNOWN).any(axis=1) & ~(answers == UNMET).any(axis=1)
    event, at = np.nonzero((answers == UNKNOWN) & is_open[:, None])
    return OpenNeeds(rows[event], needs[event, at])
