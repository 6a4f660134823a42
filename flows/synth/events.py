"""Events in the shapes that a ceramic-one node stores: pure functions from values to blocks.

    init_event(seed, *, signed=True, model=MODEL, controller=CONTROLLER, data=None, cap=None)
        -> Event
    data_event(stream, prev, data, *, header=None, cap=None) -> Event
    time_event(stream, prev, witness=None) -> Event
    anchor(prevs, *, depth=10) -> list[Witness]
    capability(controller, seed) -> Capability
    sign(payload, controller, cap=None) -> tuple[Block, ...]
    build_event(stream, kind, prev, blocks) -> Event
    block(content, codec=DAG_CBOR, *, is_root=False) -> Block

A stream is begun with `init = init_event(1)` and carried on with `data_event(init.stream, init.cid,
{"n": 1})`. Whatever `prev` and `blocks` are given is taken as it is, so damaged and orphaned events
are made with the same functions. The shapes are those of FORMAT.md and of rows that a node wrote.
Signatures and transaction hashes are hashes of what they would sign: nothing in this project checks
them. Blocks are encoded by cbrrr, because libipld writes every byte string that looks like a CID as
a link, and an envelope's `payload` is such a byte string.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256, sha512
from typing import Literal, NamedTuple

from cbrrr import CID, DagCborTypes, encode_dag_cbor
from libipld import encode_cid, encode_multibase

Kind = Literal["init", "unsigned init", "data", "time"]

DAG_CBOR = 0x71
DAG_JOSE = 0x85
_CID_PREFIX = {DAG_CBOR: b"\x01\x71", DAG_JOSE: b"\x01\x85\x01"}
_SHA2_256 = b"\x12\x20"
_ETH_TX_KECCAK_256 = b"\x01\x93\x01\x1b\x20"
_STREAM_ID_OF_A_MODEL = b"\xce\x01\x02"
_EVENT_ID_ON_MAINNET = b"\xce\x01\x05\x00"
_ED25519_PUBLIC_KEY = b"\xed\x01"


class Block(NamedTuple):
    """One block of an event, as `ceramic_one_event_block` lists it."""

    multihash: bytes
    content: bytes
    codec: int
    is_root: bool

    @property
    def cid(self) -> bytes:
        """The binary CIDv1."""
        return _CID_PREFIX[self.codec] + self.multihash


class Stream(NamedTuple):
    """What every event of a stream needs to know of its init event."""

    cid: bytes
    """CID of the init event."""
    key_prefix: bytes
    """`order_key` up to the event's own CID."""
    controller: str


class Event(NamedTuple):
    """One event with all its blocks, in the order in which a node lists them."""

    cid: bytes
    stream: Stream
    kind: Kind
    prev: bytes | None
    """None for an init event."""
    blocks: tuple[Block, ...]

    @property
    def init(self) -> bytes:
        """CID of the stream's init event."""
        return self.stream.cid

    @property
    def order_key(self) -> bytes:
        """The key under which nodes synchronise the event (FORMAT.md, Streams)."""
        return self.stream.key_prefix + self.cid


class Witness(NamedTuple):
    """What proves that an event was anchored: a proof, and the tree nodes from its root down."""

    proof: Block
    path: str
    """Index in each node, joined by `/`; empty if the root is the event itself."""
    nodes: tuple[Block, ...]


class Capability(NamedTuple):
    """A CACAO by which a controller lets a session key sign for it."""

    block: Block
    session: str
    """The session key's DID."""


def block(content: bytes, codec: int = DAG_CBOR, *, is_root: bool = False) -> Block:
    """A block of this content under its SHA-256 multihash."""
    return Block(_SHA2_256 + _hash(content), content, codec, is_root)


def _hash(content: bytes) -> bytes:
    return sha256(content).digest()


def did_key(seed: int) -> str:
    """A `did:key` whose public key is derived from `seed`."""
    return "did:key:" + encode_multibase("z", _ED25519_PUBLIC_KEY + _hash(f"key {seed}".encode()))


def did_pkh(seed: int) -> str:
    """A `did:pkh` of an Ethereum account derived from `seed`."""
    return "did:pkh:eip155:1:0x" + _hash(f"account {seed}".encode())[:20].hex()


def model_id(seed: int) -> bytes:
    """The binary StreamID of a model, as the header of an init event holds it (40 bytes)."""
    return _STREAM_ID_OF_A_MODEL + block(f"model {seed}".encode()).cid


CONTROLLER = did_key(0)
MODEL = model_id(0)


def init_event(
    seed: int,
    *,
    signed: bool = True,
    model: bytes = MODEL,
    controller: str = CONTROLLER,
    data: DagCborTypes = None,
    cap: Capability | None = None,
) -> Event:
    """The first event of a new stream; `seed` makes it unique. Its `data` may be null."""
    header: dict[str, DagCborTypes] = {
        "sep": "model",
        "model": model,
        "unique": _hash(f"unique {seed}".encode())[:12],
        "controllers": [controller],
    }
    payload = encode_dag_cbor({"header": header, "data": data})
    blocks = sign(payload, controller, cap) if signed else (block(payload, is_root=True),)
    cid = blocks[-1].cid
    separator, owner = _hash(b"model" + model)[-8:], _hash(controller.encode())[-8:]
    stream = Stream(cid, _EVENT_ID_ON_MAINNET + separator + owner + cid[-4:], controller)
    return Event(cid, stream, "init" if signed else "unsigned init", None, blocks)


def data_event(
    stream: Stream,
    prev: bytes,
    data: DagCborTypes,
    *,
    header: Mapping[str, DagCborTypes] | None = None,
    cap: Capability | None = None,
) -> Event:
    """A signed change of the stream; real ones have a list of JSON patches or None as `data`."""
    payload: dict[str, DagCborTypes] = {"id": CID(stream.cid), "prev": CID(prev), "data": data}
    if header is not None:
        payload["header"] = dict(header)
    return build_event(stream, "data", prev, sign(encode_dag_cbor(payload), stream.controller, cap))


def time_event(stream: Stream, prev: bytes, witness: Witness | None = None) -> Event:
    """A time event for `prev`; without a witness it is anchored alone, with an empty path."""
    proof, path, nodes = witness or anchor([prev], depth=0)[0]
    content: DagCborTypes = {
        "id": CID(stream.cid),
        "prev": CID(prev),
        "proof": CID(proof.cid),
        "path": path,
    }
    return build_event(
        stream, "time", prev, (block(encode_dag_cbor(content), is_root=True), proof, *nodes)
    )


def build_event(stream: Stream, kind: Kind, prev: bytes | None, blocks: Iterable[Block]) -> Event:
    """An event of these blocks, one of which is the root; nothing else is checked."""
    listed = tuple(blocks)
    root = next(one for one in listed if one.is_root)
    return Event(root.cid, stream, kind, prev, listed)


def sign(payload: bytes, controller: str, cap: Capability | None = None) -> tuple[Block, ...]:
    """The blocks of a signed event: a capability if there is one, the payload, and the envelope."""
    signer = controller
    capability_field = ""
    if cap is not None:
        signer = cap.session
        capability_field = f'"cap":"ipfs://{encode_cid(cap.block.cid)}",'
    protected = (
        f'{{"alg":"EdDSA",{capability_field}"kid":"{signer}#{signer.removeprefix("did:key:")}"}}'
    )
    content = block(payload)
    signature: DagCborTypes = {
        "protected": protected.encode(),
        "signature": sha512(payload).digest(),
    }
    envelope = block(
        encode_dag_cbor({"payload": content.cid, "signatures": [signature]}), DAG_JOSE, is_root=True
    )
    return (content, envelope) if cap is None else (cap.block, content, envelope)


def capability(controller: str, seed: int) -> Capability:
    """A capability of `controller` for a session key derived from `seed`."""
    session = did_key(seed)
    content: DagCborTypes = {
        "h": {"t": "eip4361"},
        "p": {
            "aud": session,
            "domain": "app.example",
            "iat": "2025-01-01T00:00:00.000Z",
            "iss": controller,
            "nonce": sha256(session.encode()).hexdigest()[:10],
            "resources": ["ceramic://*"],
            "statement": "Give this application access to some of your data on Ceramic",
            "version": "1",
        },
        "s": {"t": "eip191", "s": "0x" + sha512(session.encode()).hexdigest() + "1b"},
    }
    return Capability(block(encode_dag_cbor(content)), session)


def anchor(prevs: Sequence[bytes], *, depth: int = 10) -> list[Witness]:
    """The witnesses of up to `2 ** depth` events, anchored together in one tree by one proof.

    Branches without an event of ours are CIDs without a block, as the events of other nodes are in
    a real tree. With depth 0 the root is the one event itself.
    """
    if not 1 <= len(prevs) <= 1 << depth:
        raise ValueError(f"{len(prevs)} events do not fit a tree of depth {depth}")
    links = list(prevs)
    levels: list[list[Block]] = []
    for _ in range(depth):
        if len(links) % 2:
            links.append(block(b"elsewhere " + links[-1]).cid)
        pairs = zip(links[::2], links[1::2], strict=True)
        levels.append([block(encode_dag_cbor([CID(left), CID(right)])) for left, right in pairs])
        links = [node.cid for node in levels[-1]]
    proof = block(
        encode_dag_cbor(
            {
                "root": CID(links[0]),
                "txHash": CID(_ETH_TX_KECCAK_256 + _hash(b"transaction " + links[0])),
                "txType": "f(bytes32)",
                "chainId": "eip155:1",
            }
        )
    )
    heights = range(depth - 1, -1, -1)
    return [
        Witness(
            proof,
            "/".join("1" if leaf >> height & 1 else "0" for height in heights),
            tuple(levels[height][leaf >> (height + 1)] for height in heights),
        )
        for leaf in range(len(prevs))
    ]
