"""Mutants of each kind of block: a node's decoder, `run` and `verify` take the same ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from libipld import encode_cid

from flows.synth.events import DAG_CBOR, DAG_JOSE, Block, block, init_event
from flows.verify.blocks import read_block
from operators.check.shared_blocks import read_capability, read_node, read_proof
from operators.event import read_event
from operators.schemas import Reason
from tests.support.blocks import envelope, link
from tests.support.program import run

Fields = dict[str, DagCborTypes]

MANY = 10_000
ORDER_KEY = b"\xce\x01\x05\x00" + bytes(20)
A = init_event(1).cid
GRANT: Fields = {"aud": "a", "domain": "d", "iat": "i", "iss": "i", "nonce": "n", "version": "1"}
PROOF: Fields = {"root": CID(A), "txHash": CID(A), "txType": "f", "chainId": "e"}
VALUE: DagCborTypes = {"a": [1, 2.5, CID(A), b"x"], "bb": {"c": None}}
DATA: Fields = {"id": CID(A), "prev": CID(A), "data": VALUE}

PARTS = (
    *(b"\x9f", b"\xbf", b"\x5f", b"\x7f", b"\xff", b"\x81", b"\xa1", b"\xc1", b"\xd8\x2a"),
    *(b"\x81" * 50, b"\xa1\x61a" * 40, b"\x80" * 20, b"\x81\x80" * 10, b"\xf7", b"\xf9\x3c\x00"),
    *(b"\xfb\x7f\xf8" + bytes(6), b"\x3b" + b"\xff" * 8, b"\x18\x01", b"\x58\x01a", b"\x41a"),
    *(b"\x61a", b"\x06", b"\x26", b"\x46", b"\x80", b"\xa0", b"\xf6", link(A), link(A[:9])),
)
"""What is put into a block."""

SEEDS: dict[str, list[DagCborTypes]] = {
    "proof": [PROOF, {**PROOF, "zz": VALUE}],
    "capability": [
        {"h": {"t": "caip122"}, "p": GRANT, "s": {"t": "jws", "s": "0x", "m": VALUE}, "z": VALUE},
        {"h": {"t": "eip4361", "x": [1]}, "p": {**GRANT, "resources": ["a"], "exp": None},
         "s": {"t": "eip191", "s": "0x"}},
    ],
    "node": [[CID(A), None, VALUE, CID(A)]],
    "payload": [
        {**DATA, "header": {"shouldIndex": True, "modelVersion": CID(A)}},
        [list(A), CID(A), {"shouldIndex": None}, VALUE],
        {"header": {"model": b"m", "controllers": ["a"], "unique": b"u", "sep": "s"}, "data": 1},
        {"header": [["a"], "s", b"m"]},
    ],
}  # fmt: skip
READ_BY_RUN: dict[str, Callable[[bytes], object]] = {
    "proof": read_proof,
    "capability": read_capability,
    "node": read_node,
    "payload": lambda content: read_event(envelope(content), content),
}


def mutants(kind: str, seed: int) -> Iterator[bytes]:
    """Blocks of a kind with something put in, left out or changed."""
    rng = Random(f"{kind} {seed}")
    seeds = [encode_dag_cbor(one) for one in SEEDS[kind]]
    while True:
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            at = rng.randrange(len(content))
            match rng.randrange(5):
                case 0:
                    content[at] = rng.randrange(256)
                case 1:
                    content[at] ^= rng.choice([0x01, 0x20, 0x40, 0x60, 0x80])
                case 2:
                    content[at:at] = rng.choice(PARTS)
                case 3:
                    content[at : at + 1] = rng.choice(PARTS)
                case _:
                    del content[at : at + rng.choice([1, 1, 2, 5])]
        yield bytes(content)


def _event(kind: str, mutant: Block) -> list[Block]:
    """The blocks of an event that needs this one, its root last."""
    time: Fields = {"id": CID(A), "prev": CID(A), "path": ""}
    match kind:
        case "proof":
            return [mutant, block(encode_dag_cbor({**time, "proof": CID(mutant.cid)}))]
        case "node":
            proof = block(encode_dag_cbor({**PROOF, "root": CID(mutant.cid)}))
            root = encode_dag_cbor({**time, "path": "0", "proof": CID(proof.cid)})
            return [mutant, proof, block(root)]
        case "payload":
            return [mutant, block(envelope(mutant.content), DAG_JOSE)]
    payload = block(encode_dag_cbor(DATA))
    protected = b'{"cap":"ipfs://%s"}' % encode_cid(mutant.cid).encode()
    signatures: DagCborTypes = [{"protected": protected, "signature": b""}]
    root = encode_dag_cbor({"payload": payload.cid, "signatures": signatures})
    return [mutant, payload, block(root, DAG_JOSE)]


def _line(blocks: list[Block]) -> str:
    root = blocks[-1]
    fields = [root.cid.hex(), ORDER_KEY.hex()]
    for one in blocks:
        codec = DAG_JOSE if one is root and one.cid[1] != DAG_CBOR else DAG_CBOR
        flag = int(one is root)
        fields.append(f"{codec}:{flag}:{one.multihash.hex()}:{one.content.hex()}")
    return " ".join(fields)


def _node_answers(program: Path, lines: list[str]) -> list[str]:
    """A node is ended by a list with so many items that they have no room in memory."""
    answers: list[str] = []
    while len(answers) < len(lines):
        ended = run([program], given="\n".join(lines[len(answers) :]), code=None)
        answers += ended.out.splitlines()
        if ended.code:
            answers.append("no node: it has ended")
    return answers


@pytest.mark.soak
def test_a_node_and_run_and_verify_take_the_same_mutants(node: Path) -> None:
    for kind in SEEDS:
        some = [one for one, _ in zip(mutants(kind, 1), range(MANY), strict=False) if one]
        answers = _node_answers(node, [_line(_event(kind, block(one))) for one in some])
        taken = 0
        for content, answer in zip(some, answers, strict=True):
            by_node = not answer.startswith(f"no {kind}")
            assert by_run_and_verify(kind, content) == (by_node, by_node), (answer, content.hex())
            taken += by_node
        assert MANY // 20 < taken < MANY - MANY // 20


def by_run_and_verify(kind: str, content: bytes) -> tuple[bool, bool]:
    """Whether `run`, and whether `verify`, takes a block as one of this kind."""
    names = {name for name, _ in read_block(content)}
    kinds = {"block_data", "block_init"} if kind == "payload" else {f"block_{kind}"}
    return not isinstance(READ_BY_RUN[kind](content), Reason), bool(names & kinds)


@pytest.mark.parametrize("kind", SEEDS)
def test_run_and_verify_take_the_same_mutants(kind: str) -> None:
    some = [one for one, _ in zip(mutants(kind, 2), range(1000), strict=False)]
    found = [by_run_and_verify(kind, content) for content in some]
    different = [
        content.hex() for content, (one, other) in zip(some, found, strict=True) if one != other
    ]
    assert different == []
    assert len({*found}) == 2
