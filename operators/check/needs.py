"""What an event needs of the blocks that it shares: links that must be there.

A time event lists its blocks in the order of its way, so that each of them must link to the next,
and the last one to prev. A signed event needs its capability to be one. Each need can be
checked without the others, whenever its block is there. Events with needs whose blocks are not kept
in memory stay open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.check.store import BYTES_A_BLOCK, NONE, BlockStore, kinds, link_forms
from operators.check.usual import CAPABILITY, CBOR, NO_LINK, NODE, PROOF, SHA2_256, Keys
from operators.encoding.columns import DIGEST, Digests, Mask, Rows, alike, short

NEED = np.dtype(
    [
        ("digest", "u8", (4,)),  # of the block
        ("target", "u8", (2,)),  # key of what its item must link to
        ("step", "u1"),  # the index of that item
        ("form", "u1"),  # of the link
        ("kind", "u1"),  # of the block: NODE, PROOF or CAPABILITY
    ]
)
"""What an event needs of one block. Of a capability only its kind counts."""

UNKNOWN, UNMET, MET = range(3)
"""What a block says of a need: nothing, because it is not there, or whether it meets it."""

Needs = NDArray[np.void]
"""Of type NEED."""


def _are_met(
    needs: Needs, key: Keys, items: NDArray[np.uint64], form: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of n needs are met by n blocks of these columns (`operators.check.usual.USUAL`)."""
    is_it = alike(key, short(needs["digest"])) & (kinds(form) == needs["kind"])
    of_link = link_forms(form, needs["step"])
    item = items[np.arange(len(needs)), np.minimum(needs["step"], items.shape[1] - 1)]
    leads = (of_link != NO_LINK) & alike(item, needs["target"])
    leads &= needs["form"] == of_link
    met: NDArray[np.bool_] = is_it & (leads | (needs["kind"] == CAPABILITY))
    return met


def answers_of_store(needs: Needs, store: BlockStore) -> NDArray[np.int8]:
    """Of each of n needs whether it is MET or UNMET; UNKNOWN where its block is not kept."""
    rows = store.find(short(needs["digest"]))
    met = _are_met(needs, store.key[rows], store.items[rows], store.form[rows])
    return np.where(rows == NONE, UNKNOWN, np.where(met, MET, UNMET)).astype(np.int8)


def answers_of(needs: Needs, records: NDArray[np.void]) -> NDArray[np.int8]:
    """The same by blocks of type USUAL."""
    store = BlockStore(BYTES_A_BLOCK * len(records))
    store.add(records)
    return answers_of_store(needs, store)


def needs_of_times(
    lists: Digests, path: NDArray[np.uint8], prev: Keys, form: NDArray[np.uint8]
) -> Needs:
    """What n time events with paths of one length need, of shape (n, 1 + deepest).

    Args:
        lists: the digests of each event's blocks, of shape (n, 2 + deepest, 4): its own, its proof,
            and the nodes on its way.
        path: of shape (n, deepest).
        prev: of shape (n, 2).
        form: of the links to them.
    """
    events, blocks, _ = lists.shape
    needs = np.zeros((events, blocks - 1), dtype=NEED)
    needs["digest"] = lists[:, 1:]
    needs["target"][:, :-1], needs["target"][:, -1] = short(lists[:, 2:]), prev
    needs["step"][:, 1:] = path
    # the nodes are listed as dag-cbor
    needs["form"], needs["form"][:, -1] = CBOR, form
    needs["kind"], needs["kind"][:, 0] = NODE, PROOF
    return needs


def needs_of_signed(capability: Digests) -> Needs:
    """What n events that are signed through these capabilities need, of shape (n, 1)."""
    needs = np.zeros((len(capability), 1), dtype=NEED)
    needs["digest"][:, 0], needs["kind"] = capability, CAPABILITY
    return needs


def multihashes_of(needs: Needs) -> list[bytes]:
    """The multihashes of the blocks that are needed, each once, in rising order."""
    digest = np.ascontiguousarray(needs["digest"])
    whole = np.empty((len(needs), len(SHA2_256) + DIGEST), dtype=np.uint8)
    whole[:, : len(SHA2_256)] = np.frombuffer(SHA2_256, dtype=np.uint8)
    whole[:, len(SHA2_256) :] = digest.view(np.uint8).reshape(-1, DIGEST)
    column = pa.Array.from_buffers(
        pa.binary(whole.shape[1]), len(whole), [None, pa.py_buffer(whole)]
    )
    return sorted(pc.unique(column).to_pylist())


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
    """Pass those of n events whose needs, of shape (n, m), are met.

    Returns the needs of those that may still pass, where the blocks are not kept.
    """
    answers = answers_of_store(needs.reshape(-1), store).reshape(needs.shape)
    passed[rows[(answers == MET).all(axis=1)]] = True
    is_open = (answers == UNKNOWN).any(axis=1) & ~(answers == UNMET).any(axis=1)
    event, at = np.nonzero((answers == UNKNOWN) & is_open[:, None])
    return OpenNeeds(rows[event], needs[event, at])
