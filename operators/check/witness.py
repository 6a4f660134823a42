"""Witness nodes: the trees that lead from a proof to the events that it anchors, climbed for many events at once (FORMAT.md).

A node is a list. Those of the usual form, up to three items that are links in the usual form or
null, are kept here as columns of numbers. The answer is that of reading each node by itself or none
at all: what is in another form is left to `operators.check.batch`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.columns import DIGEST, Digests, digests, holds, spans
from operators.encoding.layouts import CBOR_CID, JOSE_CID, link_head

KEPT_NODES = 196_608
"""About 30 MB: of each its digest, those of its items, and an entry in the index."""

FETCHED_NODES = 65_536
"""Room for the nodes that a page of events fetches; what does not fit is left to the slow way."""

MOST_ITEMS = 3
NO_LINK, CBOR, JOSE = range(3)
"""The form of an item: null, or a link to a dag-cbor or dag-jose block by its sha2-256."""

SHA2_256 = b"\x12\x20"
"""How a multihash of that form begins."""

_LIST, _NULL = 0x80, 0xF6
_HEADS = {CBOR: link_head(CBOR_CID), JOSE: link_head(JOSE_CID)}
_NONE = -1
_LONGEST_ITEM = 48
"""Bytes, rounded up."""

Rows = NDArray[np.int32]
Fetch = Callable[[Sequence[bytes]], tuple[pa.Array, pa.Array]]
"""From distinct multihashes to those that the database holds, and their blocks."""


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where n ways down a tree led."""

    arrived: NDArray[np.bool_]
    """Whether each came to its end through nodes of the usual form."""
    digest: Digests
    """Of what is there; of shape (n, 4)."""
    form: NDArray[np.uint8]
    """Of the link to it."""
    passed: Digests
    """Of the nodes on each way; of shape (n, deepest, 4), and of no meaning beyond its depth."""


class Witnesses:
    """The nodes that were needed or offered lately."""

    def __init__(self) -> None:
        # pages of this memory that are not used yet take none
        self._key = np.empty((KEPT_NODES, 4), dtype=np.uint64)
        self._items = np.empty((KEPT_NODES, MOST_ITEMS, 4), dtype=np.uint64)
        self._form = np.empty((KEPT_NODES, MOST_ITEMS), dtype=np.uint8)
        self._child = np.empty((KEPT_NODES, MOST_ITEMS), dtype=np.int32)
        """The row of the node that an item links to, once it was looked for and found."""
        self._used = np.empty(KEPT_NODES, dtype=np.int32)
        """The page in which it was wanted last."""
        self._page = 0
        self.kept = 0
        """How many nodes are kept."""
        # the index: the first words of all keys, sorted, and their rows
        self._words = np.empty(0, dtype=np.uint64)
        self._rows = np.empty(0, dtype=np.int32)

    def make_room(self, offered: int) -> None:
        """Before a page of events is checked: what has not been wanted for longest goes, if so many nodes and what is fetched need it."""
        self._page += 1
        room = min(offered + FETCHED_NODES, KEPT_NODES)
        if self.kept + room <= KEPT_NODES:
            return
        # half of all at the most, so that this is rarely needed
        excess = self.kept - min(KEPT_NODES - room, KEPT_NODES // 2)
        used = self._used[: self.kept]
        kept = np.flatnonzero(used > np.partition(used, excess - 1)[excess - 1])
        for column in (self._key, self._items, self._form, self._used):
            column[: len(kept)] = column[kept]
        self.kept = len(kept)
        self._child[: self.kept] = _NONE
        self._rows = np.argsort(self._key[: self.kept, 0]).astype(np.int32)
        self._words = self._key[self._rows, 0]

    def add(self, multihashes: pa.Array, blocks: pa.Array) -> NDArray[np.bool_]:
        """Keep the nodes of the usual form among n blocks; which of the blocks those are."""
        data, start, end = spans(multihashes)
        usual = end - start == len(SHA2_256) + DIGEST
        usual[usual] = holds(data, start[usual], SHA2_256)
        items, form, alike = _read_nodes(blocks)
        alike &= usual
        key = digests(data, start[alike] + len(SHA2_256))
        word, first = np.unique(key[:, 0], return_index=True)
        # two keys with the same first word are not both kept
        new = first[_absent(self._words, word)][: KEPT_NODES - self.kept]
        rows = np.arange(self.kept, self.kept + len(new), dtype=np.int32)
        at = np.flatnonzero(alike)[new]
        self._key[rows], self._items[rows], self._form[rows] = key[new], items[at], form[at]
        self._child[rows], self._used[rows] = _NONE, self._page
        self.kept += len(new)
        place = np.searchsorted(self._words, key[new, 0])
        self._words, self._rows = (
            np.insert(self._words, place, key[new, 0]),
            np.insert(self._rows, place, rows),
        )
        return alike

    def climb(
        self,
        root: Digests,
        form: NDArray[np.uint8],
        path: NDArray[np.uint8],
        depth: NDArray[np.int64],
        fetch: Fetch,
    ) -> Climbed:
        """Go down from each of n roots, at each node by the next index of its path; nodes that are not kept are fetched.

        Args:
            root: of shape (n, 4).
            form: of the n links to them.
            path: of shape (n, deepest).
            depth: how many indices of each path count.
            fetch: is called once a level at the most.
        """
        digest, form, passed = root.copy(), form.copy(), np.zeros((*path.shape, 4), dtype=np.uint64)
        going = np.flatnonzero(depth > 0)
        arrived = depth == 0
        node = self._find(root[going])
        for level in range(path.shape[1]):
            lost = np.flatnonzero(node == _NONE)
            if len(lost):
                _, first = np.unique(digest[going[lost], 0], return_index=True)
                self.add(*fetch([SHA2_256 + key.tobytes() for key in digest[going[lost[first]]]]))
                node[lost] = self._find(digest[going[lost]])
            step = path[going, level]
            leads = np.flatnonzero((node != _NONE) & (step < MOST_ITEMS))
            leads = leads[self._form[node[leads], step[leads]] != NO_LINK]
            going, node, step = going[leads], node[leads], step[leads]
            passed[going, level], self._used[node] = self._key[node], self._page
            ends = depth[going] == level + 1
            there = going[ends]
            digest[there], form[there], arrived[there] = (
                self._items[node[ends], step[ends]],
                self._form[node[ends], step[ends]],
                True,
            )
            going, node, step = going[~ends], node[~ends], step[~ends]
            child = self._child[node, step]
            unknown = np.flatnonzero(child == _NONE)
            digest[going[unknown]] = self._items[node[unknown], step[unknown]]
            child[unknown] = self._find(digest[going[unknown]])
            self._child[node[unknown], step[unknown]] = child[unknown]
            node = child
        return Climbed(arrived, digest, form, passed)

    def _find(self, key: Digests) -> Rows:
        """The row of each of n nodes, NONE where it is not kept."""
        if not len(self._words):
            return np.full(len(key), _NONE, dtype=np.int32)
        at = np.searchsorted(self._words, key[:, 0])
        at[at == len(self._words)] = 0
        rows = self._rows[at]
        return np.where((self._key[rows] == key).all(axis=1), rows, np.int32(_NONE))


def _absent(words: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    at = np.searchsorted(words, wanted)
    absent: NDArray[np.bool_] = (at == len(words)) | (np.append(words, np.uint64(0))[at] != wanted)
    return absent


def _read_nodes(blocks: pa.Array) -> tuple[Digests, NDArray[np.uint8], NDArray[np.bool_]]:
    """The items of n blocks, of shape (n, MOST_ITEMS, 4), their forms, and which blocks are nodes of the usual form at all."""
    data, start, end = spans(blocks)
    # so that whatever is read at a place within a block lies within the data
    data = np.concatenate([data, np.zeros(_LONGEST_ITEM, dtype=np.uint8)])
    count = data[start].astype(np.int64) - _LIST
    alike = (end > start) & (count >= 0) & (count <= MOST_ITEMS)
    items = np.zeros((len(start), MOST_ITEMS, 4), dtype=np.uint64)
    form = np.zeros((len(start), MOST_ITEMS), dtype=np.uint8)
    at = start + 1
    for item in range(MOST_ITEMS):
        alike &= (count <= item) | (at < end)
        rows = np.flatnonzero(alike & (count > item))
        # an item that is cut off makes the end differ
        size = (data[at[rows]] == _NULL).astype(np.int64)
        for of_link, head in _HEADS.items():
            links = np.flatnonzero(holds(data, at[rows], head))
            items[rows[links], item] = digests(data, at[rows[links]] + len(head))
            form[rows[links], item] = of_link
            size[links] = len(head) + DIGEST
        alike[rows[size == 0]] = False
        at[rows] += size
    return items, form, alike & (at == end)
