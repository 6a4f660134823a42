"""Time events in the usual layout, checked for a whole batch at once.

The way of a time event leads from its proof down a tree of witness nodes to its prev. Ways are
climbed in the blocks that are kept, many at once. The answer is that of reading each block by
itself or none at all: what is in another form is left to `operators.check.event`.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.check.lists import CBOR_ENTRY, CBOR_ROOT, lists, lists_in_order, own_digests
from operators.check.needs import OpenNeeds, needs_of_times, pass_met
from operators.check.store import NONE, BlockStore, kinds, link_forms
from operators.check.usual import CBOR, JOSE, NO_LINK, NODE, PROOF, Keys, keys
from operators.encoding.columns import DIGEST, Mask, alike, digests, short, spans
from operators.encoding.layouts import CBOR_CID, Places

DEEPEST = 32
"""The most indices of a path: a tree with so many levels can anchor all events there are."""

_TEXT_OF_ONE_BYTE = 0x78
"""The head of a text whose length takes one more byte; a smaller head holds the length itself."""

_LONG_TEXT = 24
"""Bytes. From this length on a text takes a head of two bytes."""


def pass_times(store: BlockStore, raw: pa.RecordBatch, times: Places, passed: Mask) -> OpenNeeds:
    """Pass those time events, in the usual layout, that a node can serve.

    Returns what the others need of blocks that are not kept.
    """
    own, is_cbor = own_digests(raw, times.rows, CBOR_CID)
    path, depth = _read_path(times.text)
    blocks, _, block_end = spans(raw["root"])
    proof = digests(blocks, block_end[times.rows] - DIGEST)
    prevs, prev_start, prev_end = spans(times.prev)
    prev = keys(prevs, prev_end - DIGEST)
    of_prev = np.where(prev_end - prev_start == len(CBOR_CID) + DIGEST, CBOR, JOSE)
    of_prev = of_prev.astype(np.uint8)
    usual = np.flatnonzero(is_cbor & (depth >= 0))
    way = climb(store, short(proof[usual]), path[usual], depth[usual])
    right = way.arrived & alike(way.key, prev[usual]) & (way.form == of_prev[usual])
    open_ones = []
    for deep in np.unique(depth[usual]):
        some = np.flatnonzero(right & (depth[usual] == deep))
        mine = usual[some]
        needed = np.concatenate([short(own[mine, None]), way.passed[some, : 1 + deep]], axis=1)
        as_what = (CBOR_ROOT, *[CBOR_ENTRY] * (needed.shape[1] - 1))
        passed[times.rows[mine[lists(raw, times.rows[mine], needed, as_what)]]] = True
        lost = usual[way.lost & (depth[usual] == deep)]
        at, listed = lists_in_order(raw, times.rows[lost], own[lost], proof[lost], 2 + deep)
        lost = lost[at]
        needs = needs_of_times(listed, path[lost, :deep], prev[lost], of_prev[lost])
        open_ones.append(pass_met(store, times.rows[lost], needs, passed))
    return OpenNeeds.concatenated(open_ones)


def _read_path(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The indices in n encoded paths, of shape (n, deepest), and how many there are in each.

    The number is -1 where a path is not of single digits with "/" between them, or has more than
    DEEPEST.
    """
    data, start, end = spans(texts)
    head = data[start]
    start = start + np.where(head < _TEXT_OF_ONE_BYTE, 1, 2)
    length = end - start
    # a node writes a long head only where it must
    usual = ((head < _TEXT_OF_ONE_BYTE) | (length >= _LONG_TEXT)) & (
        (head <= _TEXT_OF_ONE_BYTE) & ((length == 0) | (length % 2 == 1)) & (length < 2 * DEEPEST)
    )
    depth = np.where(usual, (length + 1) // 2, 0)
    steps = np.arange(depth.max(initial=0))
    at = np.minimum(start[:, None] + 2 * steps, len(data) - 1)
    path = data[at] - np.uint8(ord("0"))
    between = (data[np.minimum(at + 1, len(data) - 1)] == ord("/")) | (steps == depth[:, None] - 1)
    is_step = (path < 10) & between  # noqa: PLR2004 # ten digits
    reads = (is_step | (steps >= depth[:, None])).all(axis=1)
    return path, np.where(usual & reads, depth, -1)


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where n ways led."""

    arrived: NDArray[np.bool_]
    """Which reached their end, through blocks of the usual form."""
    lost: NDArray[np.bool_]
    """Which reached a block that is not kept."""
    key: Keys
    """Of what is at the end, of shape (n, 2)."""
    form: NDArray[np.uint8]
    """Of the link to what is at the end."""
    passed: Keys
    """Of the proof and the nodes on each way, of shape (n, 1 + deepest, 2). What follows the end of
    a way has no meaning."""


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
