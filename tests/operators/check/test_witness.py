"""Witness nodes as columns of numbers: a climb leads where reading node after node leads."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from operators.check.shared import read_node
from operators.check.witness import CBOR, JOSE, SHA2_256, Witnesses
from operators.encoding.layouts import CBOR_CID, JOSE_CID

ENDS = [begin + bytes([at]) * 32 for begin in (CBOR_CID, JOSE_CID) for at in range(1, 4)]
FORM = {CBOR_CID: CBOR, JOSE_CID: JOSE}


class Tree:
    """Random nodes, most of them of the usual form, and what was fetched of them."""

    def __init__(self, rng: Random, nodes: int) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.fetched: list[bytes] = []
        cids = list(ENDS)
        for _ in range(nodes):
            items: list[DagCborTypes] = [
                CID(rng.choice(cids)) for _ in range(rng.choice([1, 2, 2, 2, 3]))
            ]
            if rng.random() < 0.2:
                odd: list[DagCborTypes] = [
                    None,
                    None,
                    5,
                    b"bytes",
                    CID(b"\x01\x55\x12\x20" + bytes(32)),
                    [None],
                ]
                items[rng.randrange(len(items))] = rng.choice(odd)
            if rng.random() < 0.05:
                items += [None, None, None]
            digest = rng.randbytes(32)
            self.blocks[SHA2_256 + digest] = encode_dag_cbor(items) + (
                b"\xf6" if rng.random() < 0.05 else b""
            )
            cids.append(rng.choice([CBOR_CID, CBOR_CID, JOSE_CID]) + digest)
        self.cids = cids[len(ENDS) :]

    def fetch(self, multihashes: Sequence[bytes]) -> tuple[pa.Array, pa.Array]:
        """Those blocks that are there."""
        assert len(set(multihashes)) == len(multihashes)
        self.fetched += multihashes
        found = {key: self.blocks[key] for key in multihashes if key in self.blocks}
        return pa.array(found.keys(), pa.binary()), pa.array(found.values(), pa.binary())

    def walk(self, cid: bytes, path: Sequence[int]) -> tuple[bytes, list[bytes]] | None:
        """Where a path leads and by which nodes, read one after the other; None: nowhere, or through another form than the usual."""
        passed = []
        for step in path:
            links = read_node(self.blocks.get(cid[-34:], b""))
            items = (
                []
                if not isinstance(links, tuple)
                else [link[0] if link else None for link in links]
            )
            if (
                self.blocks.get(cid[-34:])
                != encode_dag_cbor([CID(item) if item else None for item in items])
                or len(items) > 3
            ):
                return None
            item = items[step] if step < len(items) else None
            if item is None or any(
                other is not None and other[:4] not in {CBOR_CID, JOSE_CID[:4]} for other in items
            ):
                return None
            passed.append(cid[-32:])
            cid = item
        return cid, passed


def climb(
    witnesses: Witnesses, tree: Tree, ways: Sequence[tuple[bytes, list[int]]]
) -> list[tuple[bytes, list[bytes]] | None]:
    """As `Tree.walk`, for many ways at once."""
    deepest = max(len(path) for _, path in ways)
    root = np.frombuffer(b"".join(cid[-32:] for cid, _ in ways), dtype=np.uint64).reshape(-1, 4)
    form = np.array([FORM[cid[:-32]] for cid, _ in ways], dtype=np.uint8)
    path = np.array(
        [path + [99] * (deepest - len(path)) for _, path in ways], dtype=np.uint8
    ).reshape(len(ways), deepest)
    found = witnesses.climb(root, form, path, np.array([len(path) for _, path in ways]), tree.fetch)
    begin = {form: begin for begin, form in FORM.items()}
    return [
        (
            begin[int(found.form[at])] + found.digest[at].tobytes(),
            [key.tobytes() for key in found.passed[at, : len(path)]],
        )
        if found.arrived[at]
        else None
        for at, (_, path) in enumerate(ways)
    ]


def ways_down(rng: Random, tree: Tree) -> list[tuple[bytes, list[int]]]:
    return [
        (
            rng.choice([*tree.cids[-20:], ENDS[0]]),
            [rng.choice([0, 0, 1, 1, 2, 3]) for _ in range(rng.randrange(6))],
        )
        for _ in range(30)
    ]


@pytest.mark.parametrize("seed", range(30))
def test_a_climb_leads_where_reading_node_after_node_leads(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.check.witness.KEPT_NODES", 60)
    monkeypatch.setattr("operators.check.witness.FETCHED_NODES", 30)
    rng = Random(seed)
    tree, witnesses = Tree(rng, 80), Witnesses()
    kept = []
    arrivals = 0
    for _ in range(20):
        offered = rng.sample(sorted(tree.blocks), 10 if rng.random() < 0.5 else 0)
        witnesses.make_room(len(offered))
        kept.append(witnesses.kept)
        witnesses.add(*tree.fetch(offered))
        ways = ways_down(rng, tree)
        found = climb(witnesses, tree, ways)
        for way, (cid, path) in zip(found, ways, strict=True):
            # a page that is full leaves the rest to be read one by one
            assert way in (
                [tree.walk(cid, path)] if witnesses.kept < 60 else [tree.walk(cid, path), None]
            )
            arrivals += way is not None and len(path) > 1
    assert arrivals
    assert max(kept) <= 30  # so nodes were dropped, and found again


def test_a_node_is_fetched_once() -> None:
    rng = Random(1)
    tree, witnesses = Tree(rng, 300), Witnesses()
    for _ in range(20):
        witnesses.make_room(0)
        climb(witnesses, tree, ways_down(rng, tree))
    fetched = tuple(tree.fetched)
    kept = [key for key in fetched if witnesses.add(*tree.fetch([key])).any()]
    assert len(kept) > 50
    assert len(set(kept)) == len(kept)


def test_of_two_nodes_whose_digests_begin_alike_one_is_kept_and_none_is_taken_for_the_other() -> (
    None
):
    begin = bytes(range(8))
    keys = [begin + bytes([at]) * 24 for at in range(3)]
    tree = Tree(Random(1), 0)
    tree.blocks = {
        SHA2_256 + key: encode_dag_cbor([CID(end)]) for key, end in zip(keys, ENDS, strict=False)
    }
    witnesses = Witnesses()
    ways = [(CBOR_CID + key, [0]) for key in keys]
    found = climb(witnesses, tree, ways)
    assert sum(way is not None for way in found) == 1
    assert witnesses.kept == 1
    for way, (cid, path) in zip(found, ways, strict=True):
        assert way in (tree.walk(cid, path), None)
    assert [climb(witnesses, tree, [way]) == [tree.walk(*way)] for way in ways].count(True) == 1
