"""Events that no honest node makes, each with the reason for which it must be rejected."""

from typing import NamedTuple

from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import DAG_JOSE, Block, Event, Stream, block, build_event, sign
from operators.schemas import Reason
from tests.support.blocks import bytes_item, link

GIGANTIC, ENORMOUS = 2**32 - 1, 2**40


class Hostile(NamedTuple):
    """One event that claims to follow a delivered one."""

    event: Event
    reason: Reason | None
    """None: it is odd, but a node takes it, and so it is delivered."""


def _head(major: int, argument: int) -> bytes:
    """The head of an item with a length of four or eight bytes."""
    wide = argument > GIGANTIC
    return bytes([major << 5 | (27 if wide else 26)]) + argument.to_bytes(8 if wide else 4, "big")


_LENGTHS = {
    f"{kind} of {size}": _head(major, size)
    for major, kind in ((2, "bytes"), (3, "text"), (4, "list"), (5, "map"))
    for size in (GIGANTIC, ENORMOUS)
}

VALUES: dict[str, bytes] = {
    "lists, 10,000 deep": b"\x81" * 10_000 + b"\x01",
    "lists, 1,000,000 deep": b"\x81" * 1_000_000 + b"\x01",
    "maps, 10,000 deep": b"\xa1\x61a" * 10_000 + b"\x01",
    "maps, 1,000,000 deep": b"\xa1\x61a" * 1_000_000 + b"\x01",
    "links, 10,000 deep": b"\xd8\x2a" * 10_000 + b"\x41\x00",
    **_LENGTHS,
    "a list of 2^64 - 1": b"\x9b" + b"\xff" * 8,
    "a list without a length": b"\x9f\x01\xff",
    "a map without a length": b"\xbf\x61a\x01\xff",
    "bytes without a length": b"\x5f\x41a\xff",
    "text without a length": b"\x7f\x61a\xff",
    "a break": b"\xff",
    "a key twice": b"\xa2\x61a\x01\x61a\x02",
    "a key that is a number": b"\xa1\x01\x01",
    "not a number": b"\xfb\x7f\xf8" + bytes(6),
    "not a number, in 16 bits": b"\xf9\x7e\x00",
    "infinity": b"\xfb\x7f\xf0" + bytes(6),
    "undefined": b"\xf7",
    "a date by tag": b"\xc1\x01",
    "a big number by tag": b"\xc2\x41\x01",
    "tag 43": b"\xd8\x2b\x58\x25\x00" + bytes(36),
    "tag 42 on text": b"\xd8\x2a\x61a",
    "tag 42 in eight bytes, on nothing": b"\xdb" + bytes(7) + b"\x2a",
    "text that is no UTF-8": b"\x62\xff\xfe",
    "text with half a surrogate": b"\x63\xed\xa0\x80",
    "a link without the zero": b"\xd8\x2a\x58\x24" + bytes([1, 0x71, 0x12, 0x20]) + bytes(32),
    "a link to nothing": b"\xd8\x2a\x40",
    "a link to a zero": b"\xd8\x2a\x41\x00",
    "a link to half a CID": link(bytes([1, 0x71, 0x12, 0x20]) + bytes(16)),
    "no value": b"",
}
"""Encoded values that are no DAG-CBOR."""

ODD_VALUES: dict[str, bytes] = {
    "a small number in eight bytes": b"\x1b" + bytes(7) + b"\x01",
    "a number in 32 bits": b"\xfa\x00\x00\x00\x00",
    "a short text with a long head": b"\x7a\x00\x00\x00\x01a",
    "keys out of order": b"\xa2\x61b\x01\x61a\x02",
    "keys ordered without their length": b"\xa2\x62aa\x01\x61b\x02",
}
"""Encoded values that a node takes though they are no DAG-CBOR, so that events with them are
read."""


def catalogue(stream: Stream, prev: bytes) -> dict[str, Hostile]:
    """Hostile events of one stream, by what is wrong with them; each is the child of `prev`."""
    ident, parent = b"\x62id" + link(stream.cid), b"\x64prev" + link(prev)
    fields: dict[str, DagCborTypes] = {"id": CID(stream.cid), "prev": CID(prev), "data": None}

    def data(payload: bytes) -> Event:
        return build_event(stream, "data", prev, sign(payload, stream.controller))

    def with_data(value: bytes) -> Event:
        return data(b"\xa3" + ident + b"\x64data" + value + parent)

    def with_envelope(root: bytes, payload: bytes = encode_dag_cbor(fields)) -> Event:
        return build_event(
            stream, "data", prev, (block(payload), block(root, DAG_JOSE, is_root=True))
        )

    def time(root: bytes, *others: Block) -> Event:
        return build_event(stream, "time", prev, (block(root, is_root=True), *others))

    def time_by(proof: bytes, path: str = "", *nodes: bytes) -> Event:
        named = block(proof)
        root = encode_dag_cbor(
            {"id": CID(stream.cid), "prev": CID(prev), "proof": CID(named.cid), "path": path}
        )
        return time(root, named, *map(block, nodes))

    def proof_of(node: bytes) -> bytes:
        root = CID(block(node).cid)
        return encode_dag_cbor(
            {"root": root, "txHash": root, "txType": "f(bytes32)", "chainId": "eip155:1"}
        )

    def without(key: str, **put: DagCborTypes) -> bytes:
        return encode_dag_cbor(
            {name: value for name, value in {**fields, **put}.items() if name != key}
        )

    def signed_as(payload: DagCborTypes, signatures: DagCborTypes) -> bytes:
        return encode_dag_cbor({"payload": payload, "signatures": signatures})

    def headed(protected: bytes) -> Event:
        payload = encode_dag_cbor({**fields, "data": protected[:40]})
        return with_envelope(
            signed_as(block(payload).cid, [{"protected": protected, "signature": bytes(64)}]),
            payload,
        )

    plain = encode_dag_cbor(fields)
    leaf = encode_dag_cbor([CID(prev), CID(prev)])
    bad = {
        f"data is {name}": Hostile(with_data(value), Reason.NOT_DAG_CBOR)
        for name, value in VALUES.items()
    }
    bad |= {
        f"data is {name}": Hostile(with_data(value), None) for name, value in ODD_VALUES.items()
    }
    bad |= {
        f"the root is {name}": Hostile(time(value), Reason.NOT_DAG_CBOR)
        for name, value in VALUES.items()
        if value
    }
    bad |= {
        f"the proof is {name}": Hostile(time_by(value), Reason.PROOF_UNREADABLE)
        for name, value in VALUES.items()
        if value
    }
    bad |= {
        f"a witness node is {name}": Hostile(
            time_by(proof_of(value), "0", value), Reason.WITNESS_UNREADABLE
        )
        for name, value in VALUES.items()
        if value
    }
    # these name no capability to a node
    bad["a capability that is no CID"] = Hostile(headed(b'{"cap":"ipfs://no"}'), None)
    bad["a capability that is a number"] = Hostile(headed(b'{"cap":1e999}'), None)
    # a node takes a CID in bytes for a link
    bad["prev a byte string"] = Hostile(data(without("", prev=prev)), None)
    bad["id a byte string"] = Hostile(data(without("", id=stream.cid)), None)
    others: dict[str, tuple[Event, Reason | None]] = {
        "a payload with a tail": (data(plain + b"\x00"), Reason.NOT_DAG_CBOR),
        "a payload twice": (data(plain * 2), Reason.NOT_DAG_CBOR),
        "half a payload": (data(plain[:-20]), Reason.NOT_DAG_CBOR),
        "an envelope with a tail": (
            with_envelope(signed_as(block(plain).cid, []) + b"\x00"),
            Reason.NOT_DAG_CBOR,
        ),
        "keys of a payload out of order": (
            data(b"\xa3" + parent + ident + b"\x64data\xf6"),
            None,
        ),
        "prev twice": (
            data(b"\xa4" + ident + b"\x64data\xf6" + parent + parent),
            Reason.NOT_DAG_CBOR,
        ),
        "prev null": (data(without("", prev=None)), Reason.NO_LINK),
        "prev a list": (data(without("", prev=[CID(prev)])), Reason.NO_LINK),
        "no id": (data(without("id")), Reason.NOT_AN_EVENT),
        "no prev": (data(without("prev")), Reason.NOT_AN_EVENT),
        "no data": (data(without("data")), Reason.NOT_AN_EVENT),
        "an empty map": (data(b"\xa0"), Reason.NOT_AN_EVENT),
        "a payload that imitates a prev": (
            data(b"\xa3" + ident + b"\x64data" + bytes_item(parent) + b"\x64prev\x41\x00"),
            Reason.NO_LINK,
        ),
        "no signature": (with_envelope(signed_as(block(plain).cid, [])), Reason.SIGNATURES_EMPTY),
        "signatures a map": (with_envelope(signed_as(block(plain).cid, {})), Reason.NOT_AN_EVENT),
        "payload no CID": (with_envelope(signed_as(b"no CID", [{}])), Reason.PAYLOAD_NO_CID),
        "payload empty": (with_envelope(signed_as(b"", [{}])), Reason.PAYLOAD_NO_CID),
        "payload a short CID": (
            with_envelope(signed_as(block(plain).cid[:-1], [{}])),
            Reason.PAYLOAD_NO_CID,
        ),
        "payload a CID behind a zero": (
            with_envelope(signed_as(b"\x00" + block(plain).cid, [{}])),
            Reason.PAYLOAD_NO_CID,
        ),
        "payload a text": (with_envelope(signed_as("text", [{}])), Reason.PAYLOAD_NO_CID),
        "payload an enormous CID": (
            with_envelope(signed_as(b"\x01\x71\x12\xff\xff\xff\xff\x0f" + bytes(99), [{}])),
            Reason.PAYLOAD_NO_CID,
        ),
        "a path of 100,000 steps": (
            time_by(proof_of(leaf), "0/" * 100_000 + "0", leaf),
            Reason.WITNESS_PATH,
        ),
        "a path outside the node": (time_by(proof_of(leaf), "2", leaf), Reason.WITNESS_PATH),
        "a path backwards": (time_by(proof_of(leaf), "-1", leaf), Reason.WITNESS_PATH),
        "a path with a number of 100,000 digits": (
            time_by(proof_of(leaf), "9" * 100_000, leaf),
            Reason.WITNESS_PATH,
        ),
        "a path of slashes": (time_by(proof_of(leaf), "/" * 1000, leaf), Reason.WITNESS_PATH),
        "a path in other digits": (time_by(proof_of(leaf), "\u0661", leaf), Reason.WITNESS_PATH),
        "a node that is a map": (
            time_by(proof_of(b"\xa0"), "0", b"\xa0"),
            Reason.WITNESS_UNREADABLE,
        ),
    }
    return bad | {name: Hostile(event, reason) for name, (event, reason) in others.items()}
