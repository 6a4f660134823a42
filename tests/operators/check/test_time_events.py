"""Ways of time events: a climb leads where reading block after block leads."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import anchor
from operators.check.shared_blocks import read_node, read_proof
from operators.check.store import BYTES_A_BLOCK, BlockStore
from operators.check.time_events import climb
from operators.check.usual import CBOR, JOSE, SHA2_256, read_usual
from operators.encoding.layouts import CBOR_CID, JOSE_CID
from tests.support.blocks import short_bytes

ENDS = [begin + bytes([at]) * 32 for begin in (CBOR_CID, JOSE_CID) for at in range(1, 4)]
FORM = {CBOR_CID: CBOR, JOSE_CID: JOSE}
PROOF = anchor([ENDS[0]], depth=0)[0].proof.content

Way = tuple[bytes, list[int]]
"""The digest of a proof, and a path."""


class Forest:
    """Random trees, most of whose blocks are of the usual form."""

    def __init__(self, rng: Random, nodes: int) -> None:
        self.blocks: dict[bytes, bytes] = {}
        cids = list(ENDS)
        for _ in range(nodes):
            items: list[DagCborTypes] = [
                CID(rng.choice(cids)) for _ in range(rng.choice([1, 2, 2, 2, 3]))
            ]
            if rng.random() < 0.2:
                odd: list[DagCborTypes] = [
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
            self.blocks[digest] = encode_dag_cbor(items) + (b"\xf6" if rng.random() < 0.05 else b"")
            cids.append(rng.choice([CBOR_CID, CBOR_CID, JOSE_CID]) + digest)
        self.proofs = [self._add_proof(rng, rng.choice(cids[-20:])) for _ in range(30)]

    def _add_proof(self, rng: Random, root: bytes) -> bytes:
        digest = rng.randbytes(32)
        head = b"\xd8\x2a\x58" + bytes([len(root) + 1, 0]) + root
        self.blocks[digest] = b"\xa4\x64root" + head + PROOF[PROOF.index(b"\x66txHash") :]
        return digest

    def put_into(self, store: BlockStore, digests: Sequence[bytes]) -> None:
        """Those blocks that are there."""
        records, _ = read_usual(
            pa.array([SHA2_256 + digest for digest in digests], pa.binary()),
            pa.array([self.blocks[digest] for digest in digests], pa.binary()),
        )
        store.add(records)

    def walk(self, way: Way) -> tuple[bytes, list[bytes]] | None:
        """Where a way leads and by which blocks, read one after the other; None: nowhere."""
        proof, path = way
        root = read_proof(self.blocks.get(proof, b""))
        if isinstance(root, str):
            return None
        cid, passed = root[0], [proof]
        for step in path:
            if not cid.startswith(CBOR_CID):
                return None
            node = read_node(self.blocks.get(cid[-32:], b""))
            if isinstance(node, str) or (link := node.link(step)) is None:
                return None
            passed.append(cid[-32:])
            cid = link[0]
        return cid, passed


def climbed(store: BlockStore, ways: Sequence[Way]) -> list[tuple[bytes, list[bytes]] | bool]:
    """The keys of what `Forest.walk` finds, for many ways at once; else whether a way is lost."""
    deepest = max(len(path) for _, path in ways)
    proofs = np.frombuffer(b"".join(short_bytes(proof) for proof, _ in ways), dtype=np.uint64)
    path = np.array(
        [path + [99] * (deepest - len(path)) for _, path in ways], dtype=np.uint8
    ).reshape(len(ways), deepest)
    depth = np.array([len(path) for _, path in ways])
    found = climb(store, proofs.reshape(-1, 2), path, depth)
    begin = {form: begin for begin, form in FORM.items()}
    return [
        (
            begin[int(found.form[at])] + found.key[at].tobytes(),
            [key.tobytes() for key in found.passed[at, : 1 + len(path)]],
        )
        if found.arrived[at]
        else bool(found.lost[at])
        for at, (_, path) in enumerate(ways)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_climb_leads_where_reading_block_after_block_leads(seed: int) -> None:
    rng = Random(seed)
    forest, store = Forest(rng, 80), BlockStore(90 * BYTES_A_BLOCK)
    arrivals = lost = 0
    for _ in range(20):
        store.turn_page(40)
        forest.put_into(store, rng.sample(sorted(forest.blocks), 40))
        ways: list[Way] = [
            (
                rng.choice([*forest.proofs, *sorted(forest.blocks)[:3]]),
                [rng.choice([0, 0, 1, 1, 2, 3]) for _ in range(rng.randrange(6))],
            )
            for _ in range(30)
        ]
        for found, way in zip(climbed(store, ways), ways, strict=True):
            if isinstance(found, bool):
                lost += found
                continue
            expected = forest.walk(way)
            assert expected is not None
            cid, passed = expected
            assert found == (cid[:-32] + short_bytes(cid[-32:]), [*map(short_bytes, passed)])
            arrivals += len(passed) > 1
    assert arrivals
    assert lost


def test_where_all_blocks_are_usual_and_kept_no_way_is_left_out() -> None:
    ends = [ENDS[at % len(ENDS)][:-1] + bytes([at]) for at in range(100)]
    store = BlockStore(1 << 20)
    witnesses = anchor(ends, depth=7)
    blocks = {one.multihash: one.content for way in witnesses for one in (way.proof, *way.nodes)}
    records, _ = read_usual(
        pa.array(blocks.keys(), pa.binary()), pa.array(blocks.values(), pa.binary())
    )
    store.add(records)
    ways = [
        (way.proof.multihash[2:], [int(step) for step in way.path.split("/")]) for way in witnesses
    ]
    for found, end, way in zip(climbed(store, ways), ends, witnesses, strict=True):
        blocks_passed = [way.proof, *way.nodes]
        assert found == (
            end[:-32] + short_bytes(end[-32:]),
            [short_bytes(one.multihash[2:]) for one in blocks_passed],
        )
