"""The way of a time event: from its proof, down a tree of witness nodes, to its prev.

Climbed for many events at once in the blocks that are kept. The answer is that of reading each
block by itself or none at all: what is in another form is left to `operators.check.event`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.check.store import NONE, BlockStore, kinds, link_forms
from operators.check.usual import CBOR, NO_LINK, NODE, PROOF, Keys


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where n ways led."""

    arrived: NDArray[np.bool_]
    """Which came to their end, through blocks of the usual form."""
    lost: NDArray[np.bool_]
    """Which came to a block that is not kept."""
    key: Keys
    """Of what is at the end, of shape (n, 2)."""
    form: NDArray[np.uint8]
    """Of the link to it."""
    passed: Keys
    """Of the proof and the nodes on each way, of shape (n, 1 + deepest, 2); of no meaning behind
    the end of a way."""


def climb(
    store: BlockStore, proof: Keys, path: NDArray[np.uint8], depth: NDArray[np.int64]
) -> Climbed:
    """Go from each of n proofs to its root, and from there by the indices of its path.

    Args:
        store: the blocks that are kept.
        proof: of shape (n, 2).
        path: of shape (n, deepest).
        depth: how many indices of each path count.
    """
    deepest = path.shape[1]
    key, form = np.zeros_like(proof), np.zeros(len(proof), dtype=np.uint8)
    passed = np.zeros((len(proof), 1 + deepest, 2), dtype=np.uint64)
    arrived, lost = np.zeros(len(proof), dtype=np.bool_), np.zeros(len(proof), dtype=np.bool_)
    going, block = np.arange(len(proof)), store.find(proof)
    for level in range(1 + deepest):
        lost[going[block == NONE]] = True
        # a proof has one item
        step = path[going, level - 1] if level else np.zeros(len(going), dtype=np.uint8)
        of_link = link_forms(store.form[block], step)
        kind = PROOF if level == 0 else NODE
        leads = (block != NONE) & (kinds(store.form[block]) == kind) & (of_link != NO_LINK)
        going, block, step, of_link = going[leads], block[leads], step[leads], of_link[leads]
        passed[going, level] = store.key[block]
        store.use(block)
        ends = depth[going] == level
        there = going[ends]
        key[there], form[there] = store.items[block[ends], step[ends]], of_link[ends]
        arrived[there] = True
        # a node that another codec links to is listed under that: it is looked at by itself
        onward = ~ends & (of_link == CBOR)
        going, block = going[onward], store.child(block[onward], step[onward])
    return Climbed(arrived, lost, key, form, passed)
