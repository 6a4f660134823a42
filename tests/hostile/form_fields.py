"""Every typed field of every block that a node decodes, given a value of each type.

FIELDS says which types of value a node takes for a field; nothing else is taken. A text may be
bytes in UTF-8. In what a node reads untagged, that is events and payloads, a CID may be bytes or a
list of numbers, and a map with fixed fields may be a list by position.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from cbrrr import CID, encode_dag_cbor

from flows.synth.events import (
    CONTROLLER,
    DAG_JOSE,
    Block,
    Event,
    Stream,
    block,
    build_event,
    did_key,
)
from tests.hostile.form_blocks import proof_and_way, sign_by

ABSENT = object()
"""Stands for a field that is not there."""

SOME_CID = b"\x01\x71\x12\x20" + bytes(range(32))

VALUES: dict[str, Any] = {
    "null": None,
    "absent": ABSENT,
    "a number": 5,
    "true": True,
    "a float": 1.5,
    "a text": "text",
    "bytes": b"text",
    "bytes that are no UTF-8": b"\xff",
    "bytes of a CID": SOME_CID,
    "a link": CID(SOME_CID),
    "an empty list": [],
    "a list of texts": ["text"],
    "a list of bytes": [b"text"],
    "a list of numbers": list(SOME_CID),
    "a list of maps": [{}],
    "an empty map": {},
    "a map of texts": {"alg": "text", "kid": "text"},
}
"""A value of each type."""

_ANY = frozenset(VALUES)
_TEXT = frozenset({"a text", "bytes", "bytes of a CID"})
_MAYBE_TEXT = _TEXT | {"null", "absent"}
_BYTES = frozenset({"bytes", "bytes that are no UTF-8", "bytes of a CID"})
_MAYBE = frozenset({"null", "absent"})
_LINK = frozenset({"a link"})
_LAX_LINK = _LINK | {"bytes of a CID", "a list of numbers"}

FIELDS: dict[str, frozenset[str]] = {
    # a time event is encoded anew, and these are not written as bytes
    "time id": _LINK,
    "time prev": _LINK,
    # this block is not there
    "time proof": frozenset(),
    "time path": frozenset({"a text"}),
    "envelope payload": frozenset(),
    "envelope signatures": frozenset(),
    "signature header": _MAYBE | {"an empty map", "a map of texts"},
    "signature protected": _MAYBE | _BYTES,
    "signature signature": _BYTES,
    "data id": _LAX_LINK,
    "data prev": _LAX_LINK,
    "data data": _ANY - {"absent"},
    "data header": _MAYBE | {"an empty map", "a map of texts", "an empty list"},
    "data header.shouldIndex": _MAYBE | {"true"},
    "data header.modelVersion": _MAYBE | _LAX_LINK,
    "init data": _ANY,
    "init header": frozenset(),
    "init header.controllers": frozenset(
        {"absent", "an empty list", "a list of texts", "a list of bytes"}
    ),
    "init header.sep": _MAYBE | _TEXT,
    "init header.model": _BYTES,
    "init header.shouldIndex": _MAYBE | {"true"},
    "init header.unique": _MAYBE | _BYTES,
    "init header.context": _MAYBE | _BYTES,
    "init header.modelVersion": _MAYBE | _LAX_LINK,
    "proof chainId": _TEXT,
    "proof root": frozenset(),
    "proof txHash": _LINK,
    "proof txType": _TEXT,
    "capability h": frozenset(),
    "capability h.t": frozenset(),
    "capability p": frozenset(),
    "capability p.aud": _TEXT,
    "capability p.domain": _TEXT,
    "capability p.exp": _MAYBE_TEXT,
    "capability p.iat": _TEXT,
    "capability p.iss": _TEXT,
    "capability p.nbf": _MAYBE_TEXT,
    "capability p.nonce": _TEXT,
    "capability p.requestId": _MAYBE_TEXT,
    "capability p.resources": _MAYBE | {"an empty list", "a list of texts", "a list of bytes"},
    "capability p.statement": _MAYBE_TEXT,
    "capability p.version": _TEXT,
    "capability s": frozenset(),
    "capability s.m": _ANY,
    "capability s.t": frozenset(),
    "capability s.s": _TEXT,
}
"""Field by field, below the name of its block: for which of VALUES a node takes the event."""

TYPES: dict[str, tuple[str, ...]] = {
    "capability h.t": ("eip4361", "caip122"),
    "capability s.t": (
        "eip191",
        "eip1271",
        "solana:ed25519",
        "tezos:ed25519",
        "stacks:secp256k1",
        "webauthn:p256",
        "jws",
    ),
}
"""The texts that a node takes for these fields."""


def field_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    """The name of each form, its event, and whether a node takes it."""
    for field, taken in FIELDS.items():
        kind, _, path = field.partition(" ")
        for name, value in VALUES.items():
            form = f"{field} is {name}"
            event = _MAKERS[kind](stream, prev, form, _putting(path, value))
            yield form, event, name in taken
    for field, texts in TYPES.items():
        kind, _, path = field.partition(" ")
        for text in (*texts, texts[0].upper(), ""):
            form = f"{field} is `{text}`"
            event = _MAKERS[kind](stream, prev, form, _putting(path, text))
            yield form, event, text in texts


Put = Callable[[dict[str, Any]], dict[str, Any]]
"""Changes a field."""


def _putting(path: str, value: Any) -> Put:
    def put(fields: dict[str, Any]) -> dict[str, Any]:
        fields = deepcopy(fields)
        *outer, last = path.split(".")
        inner = fields
        for name in outer:
            inner = inner.setdefault(name, {})
        if value is ABSENT:
            inner.pop(last, None)
        else:
            inner[last] = value
        return fields

    return put


def _keep(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _time(stream: Stream, prev: bytes, name: str, put: Put, of_proof: Put = _keep) -> Event:
    proof, path, nodes = proof_and_way(prev, name, of_proof)
    fields = {"id": CID(stream.cid), "prev": CID(prev), "proof": CID(proof.cid), "path": path}
    root = block(encode_dag_cbor(put(fields)), is_root=True)
    return build_event(stream, "time", prev, (root, proof, *nodes))


def _proof(stream: Stream, prev: bytes, name: str, put: Put) -> Event:
    return _time(stream, prev, name, _keep, put)


def _signed(
    stream: Stream,
    prev: bytes,
    payload: Block,
    of_envelope: Put = _keep,
    of_signature: Put = _keep,
) -> Event:
    signature = of_signature({"protected": b"{}", "signature": b"s"})
    fields = of_envelope({"payload": payload.cid, "signatures": [signature]})
    root = block(encode_dag_cbor(fields), DAG_JOSE, is_root=True)
    return build_event(stream, "data", prev, (payload, root))


def _payload(stream: Stream, prev: bytes, name: str) -> Block:
    return block(encode_dag_cbor({"id": CID(stream.cid), "prev": CID(prev), "data": name}))


def _envelope(stream: Stream, prev: bytes, name: str, put: Put) -> Event:
    return _signed(stream, prev, _payload(stream, prev, name), of_envelope=put)


def _signature(stream: Stream, prev: bytes, name: str, put: Put) -> Event:
    return _signed(stream, prev, _payload(stream, prev, name), of_signature=put)


def _data(stream: Stream, prev: bytes, name: str, put: Put) -> Event:
    fields = put({"id": CID(stream.cid), "prev": CID(prev), "data": name})
    return _signed(stream, prev, block(encode_dag_cbor({**fields, "form": name})))


def _init(stream: Stream, prev: bytes, name: str, put: Put) -> Event:  # noqa: ARG001
    header = {"model": b"model", "sep": "model", "controllers": [CONTROLLER]}
    fields = {**put({"header": header, "data": name}), "form": name}
    return build_event(stream, "init", None, (block(encode_dag_cbor(fields), is_root=True),))


def _capability(stream: Stream, prev: bytes, name: str, put: Put) -> Event:
    fields: dict[str, Any] = {
        "h": {"t": "eip4361"},
        "p": {
            "aud": did_key(1),
            "domain": "app.example",
            "iat": "2025-01-01T00:00:00.000Z",
            "iss": "did:pkh:eip155:1:0x0",
            "nonce": name,
            "version": "1",
        },
        "s": {"t": "eip191", "s": "0x00"},
    }
    capability = block(encode_dag_cbor({**put(fields), "form": name}))
    return sign_by(stream, prev, name, capability)


_MAKERS: dict[str, Callable[[Stream, bytes, str, Put], Event]] = {
    "time": _time,
    "proof": _proof,
    "envelope": _envelope,
    "signature": _signature,
    "data": _data,
    "init": _init,
    "capability": _capability,
}
