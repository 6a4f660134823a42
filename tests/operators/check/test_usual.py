"""Shared blocks of the usual forms: columns say what each block by itself says, or nothing."""

from collections.abc import Iterator
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import anchor, capability
from operators.check.shared_blocks import read_capability, read_node, read_proof
from operators.check.usual import (
    CAPABILITY,
    CBOR,
    JOSE,
    NO_LINK,
    NODE,
    PROOF,
    SHA2_256,
    read_usual,
)
from operators.encoding.layouts import CBOR_CID, JOSE_CID
from operators.schemas import Reason
from tests.support.blocks import short_bytes

LINKS = [CBOR_CID + bytes([1]) * 32, JOSE_CID + bytes([2]) * 32]
FORM = {CBOR: CBOR_CID, JOSE: JOSE_CID}
TRANSACTION = b"\x01\x93\x01\x1b\x20" + bytes([3]) * 32


def proof(**put: DagCborTypes) -> bytes:
    fields: dict[str, DagCborTypes] = {
        "root": CID(LINKS[0]),
        "txHash": CID(TRANSACTION),
        "txType": "raw",
        "chainId": "eip155:1",
    }
    return encode_dag_cbor(fields | put)


def valid() -> list[bytes]:
    """Blocks of all kinds, most of them in the usual form."""
    witnesses = anchor([LINKS[0], LINKS[1], LINKS[1]], depth=2)
    items: list[list[DagCborTypes]] = [
        [],
        [None],
        [CID(LINKS[0]), None],
        [None, CID(LINKS[1]), CID(LINKS[0])],
        [*map(CID, LINKS), *map(CID, LINKS)],
        [CID(b"\x01\x55\x12\x20" + bytes(32)), CID(LINKS[0])],
        [1],
    ]
    return [
        *(one.content for way in witnesses for one in (way.proof, *way.nodes)),
        *map(encode_dag_cbor, items),
        proof(),
        proof(root=CID(LINKS[1])),
        proof(txType="", chainId=""),
        proof(txType="a" * 23),
        proof(txType="a" * 24),
        proof(txType="ä"),
        proof(chainId="e\u00ef"),
        proof(chainId=5),
        proof(more=1),
        proof(txHash=CID(LINKS[0])),
        capability("did:pkh:eip155:1:0x0", 1).block.content,
        encode_dag_cbor({"h": {}, "p": {}, "s": {}}),
        encode_dag_cbor({"h": {"t": "eip4361"}}),
        b"",
        b"\x80",
        b"\xa3\x61h",
        proof()[:-1],
        b"\xa4\x64root" + bytes(90),
    ]


def mutants(seed: int, count: int) -> Iterator[bytes]:
    rng = Random(seed)
    blocks = [block for block in valid() if block]
    for _ in range(count):
        block = bytearray(rng.choice(blocks))
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(block))
            change = rng.randrange(4)
            if change == 0:
                block[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                block[at] = rng.choice(b"\x00\x60\x63\x77\x78\x80\x82\xa3\xd8\xf6\xff")
            elif change == 2:
                del block[at:]
            else:
                block[at:at] = rng.randbytes(rng.randrange(1, 3))
            if not block:
                break
        yield bytes(block)


def by_itself(block: bytes, kind: int) -> list[bytes | None] | Reason:
    """The CIDs of a block's items that are kept, read without the columns."""
    if kind == CAPABILITY:
        found = read_capability(block)
        return [] if found is True else Reason(str(found))
    if kind == PROOF:
        root = read_proof(block)
        return root if isinstance(root, Reason) else [root[0]]
    node = read_node(block)
    if isinstance(node, Reason):
        return node
    return [link and link.binary for link in map(node.link, range(min(2, len(node))))]


def assert_read_alike(blocks: list[bytes]) -> int:
    """Hold what the columns say against each block by itself; how many are usual."""
    digests = [bytes([at % 256, at // 256]) * 16 for at in range(len(blocks))]
    records, usual = read_usual(
        pa.array([SHA2_256 + digest for digest in digests], pa.binary()),
        pa.array(blocks, pa.binary()),
    )
    assert len(records) == usual.sum()
    for record, at in zip(records, np.flatnonzero(usual).tolist(), strict=True):
        assert record["key"].tobytes() == short_bytes(digests[at])
        form = int(record["form"])
        kind, forms = form >> 4, [form & 3, form >> 2 & 3]
        held = by_itself(blocks[at], kind)
        assert isinstance(held, list), (blocks[at].hex(), held)
        for item, of_link in enumerate(forms):
            cid = held[item] if item < len(held) else None
            if of_link == NO_LINK:
                assert cid is None
            else:
                assert cid is not None
                assert cid[:-32] == FORM[of_link]
                assert short_bytes(cid[-32:]) == record["items"][item].tobytes()
    return int(usual.sum())


def test_usual_blocks_are_read_as_each_by_itself() -> None:
    blocks = valid()
    usual = assert_read_alike(blocks)
    assert usual == sum(assert_read_alike([block]) for block in blocks)
    assert usual >= 15


@pytest.mark.parametrize("seed", [1, 2])
def test_mutants_of_shared_blocks_are_read_as_each_by_itself(seed: int) -> None:
    blocks = list(mutants(seed, 3000))
    assert 300 < assert_read_alike(blocks) < 2700


def test_what_nodes_write_is_usual() -> None:
    ways = anchor(LINKS, depth=10)
    blocks = {one.multihash: one.content for way in ways for one in (way.proof, *way.nodes)}
    cap = capability("did:pkh:eip155:1:0x0", 1).block
    blocks[cap.multihash] = cap.content
    records, usual = read_usual(
        pa.array(blocks.keys(), pa.binary()), pa.array(blocks.values(), pa.binary())
    )
    assert usual.all()
    assert np.bincount(records["form"] >> 4).tolist()[PROOF:] == [1, 1]
    assert np.count_nonzero(records["form"] >> 4 == NODE) == len(blocks) - 2


def test_a_block_by_another_hash_is_not_usual() -> None:
    multihashes = [b"\x13\x20" + bytes(32), SHA2_256 + bytes(31), b"", SHA2_256 + bytes(32)]
    _, usual = read_usual(pa.array(multihashes, pa.binary()), pa.array([b"\x80"] * 4, pa.binary()))
    assert usual.tolist() == [False, False, False, True]
