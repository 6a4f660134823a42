"""Events for the forms, from blocks that are given as bytes."""

from collections.abc import Callable, Sequence
from typing import Any

from cbrrr import CID, DagCborTypes, encode_dag_cbor
from libipld import encode_cid

from flows.synth.events import (
    DAG_JOSE,
    Block,
    Event,
    Stream,
    Witness,
    block,
    build_event,
)


def sign_by(stream: Stream, prev: bytes, name: str, capability: Block) -> Event:
    """A change signed through this capability."""
    protected = b'{"cap":"ipfs://%s"}' % encode_cid(capability.cid).encode()
    return protected_event(stream, prev, name, protected, (capability,))


def protected_event(
    stream: Stream, prev: bytes, name: str, protected: bytes, others: Sequence[Block] = ()
) -> Event:
    """A change whose signature has this protected header."""
    payload = block(encode_dag_cbor({"id": CID(stream.cid), "prev": CID(prev), "data": name}))
    signature: DagCborTypes = {"protected": protected, "signature": bytes(64)}
    root = encode_dag_cbor({"payload": payload.cid, "signatures": [signature]})
    blocks = (*others, payload, block(root, DAG_JOSE, is_root=True))
    return build_event(stream, "data", prev, blocks)


def proof_and_way(
    prev: bytes, name: str, put: Callable[[dict[str, Any]], dict[str, Any]]
) -> Witness:
    """A proof made for this name, which anchors `prev` by one node."""
    node = block(encode_dag_cbor([None, CID(prev)]))
    transaction = b"\x01\x93\x01\x1b\x20" + block(name.encode()).multihash[2:]
    proof = {
        "root": CID(node.cid),
        "txHash": CID(transaction),
        "txType": "f(bytes32)",
        "chainId": "eip155:1",
    }
    content = encode_dag_cbor({**put(proof), "form": name})
    return Witness(block(content), "1", (node,))
