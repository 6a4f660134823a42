"""Forms of an event on which decoders differ, and who takes them: a node, `run` and `verify`.

What a node takes was found out with its own decoder (`tests/hostile/node`), on types with the
fields that it asks for. These are, of https://github.com/ceramicnetwork/rust-ceramic, `RawEvent` in
event/src/unvalidated/event.rs, `Payload` in payload/mod.rs and `Envelope` in signed/mod.rs. That
Cargo.lock of v0.54.2 has serde_ipld_dagcbor 0.6.1; 0.6.4 takes the same, and 0.7.0 refuses all that
only nodes take here, long heads and floats of 32 bits. The rules are in its src/de.rs
(`deserialize_any`), and for heads of any length in src/core/dec.rs of cbor4ii 0.2.14
(`decode_u64`). Both enums are untagged, so serde keeps a block in a type of its own first, which
has no integers of 128 bits.
"""

from typing import NamedTuple

from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import DAG_JOSE, Event, Stream, block, build_event, sign
from tests.support.blocks import link


class Form(NamedTuple):
    """One event, and whether each of these takes it."""

    event: Event
    node: bool
    run: bool
    verify: bool


_DIGEST = bytes([0x12, 0x20]) + bytes(32)
_LINK = link(b"\x01\x71" + _DIGEST)

VALUES: dict[str, tuple[str, bytes]] = {
    "a number in nine bytes that fits one": ("nr-", b"\x1b" + bytes(7) + b"\x01"),
    "the largest number": ("nrv", b"\x1b" + b"\xff" * 8),
    "-2^63": ("nrv", b"\x3b\x7f" + b"\xff" * 7),
    "-2^63 - 1": ("---", b"\x3b\x80" + bytes(7)),
    "-2^64": ("---", b"\x3b" + b"\xff" * 8),
    "a text with a long head": ("nr-", b"\x78\x01a"),
    "bytes with a long head": ("nr-", b"\x58\x01a"),
    "a list with a long head": ("nr-", b"\x98\x01\x01"),
    "a map with a long head": ("nr-", b"\xb8\x01\x61a\x01"),
    "a link with a long tag": ("nr-", b"\xd9\x00\x2a" + _LINK[2:]),
    "a float of 16 bits": ("---", b"\xf9\x3c\x00"),
    "a float of 32 bits": ("nr-", b"\xfa\x3f\x80\x00\x00"),
    "not a number": ("n--", b"\xfb\x7f\xf8" + bytes(6)),
    "not a number, in 32 bits": ("n--", b"\xfa\x7f\xc0\x00\x00"),
    "infinity": ("n--", b"\xfb\x7f\xf0" + bytes(6)),
    "-0.0": ("n-v", b"\xfb\x80" + bytes(7)),
    "bytes without a length": ("---", b"\x5f\x41a\xff"),
    "a text without a length": ("---", b"\x7f\x61a\xff"),
    "a list without a length": ("---", b"\x9f\x01\xff"),
    "a map without a length": ("---", b"\xbf\x61a\x01\xff"),
    "a date by tag": ("---", b"\xc1\x01"),
    "tag 43": ("---", b"\xd8\x2b" + _LINK[2:]),
    "undefined": ("---", b"\xf7"),
    "a simple value": ("---", b"\xf8\x20"),
    "keys out of order": ("n--", b"\xa2\x61b\x01\x61a\x02"),
    "keys in the order of their bytes": ("n--", b"\xa2\x62aa\x01\x61b\x02"),
    "a key twice": ("---", b"\xa2\x61a\x01\x61a\x02"),
    "a key that is a number": ("---", b"\xa1\x01\x01"),
    "a key that is a byte string": ("n--", b"\xa1\x41a\x01"),
    "a text that is no UTF-8": ("---", b"\x62\xff\xfe"),
    "a link without the zero": ("---", b"\xd8\x2a\x58\x24\x01\x71" + _DIGEST),
    "a link to half a CID": ("---", link(b"\x01\x71" + _DIGEST[:18])),
    "a link to a CID and more": ("nrv", link(b"\x01\x71" + _DIGEST + b"\x00\x00")),
    "a link to a CID of version 0": ("nrv", link(_DIGEST)),
    "a link to a CID of version 2": ("---", link(b"\x02\x71" + _DIGEST)),
    "a link with a codec in a byte too many": ("---", link(b"\x01\xf1\x00" + _DIGEST)),
    "lists, 126 deep": ("nrv", b"\x81" * 126 + b"\x01"),
    "lists, 127 deep": ("---", b"\x81" * 127 + b"\x01"),
    "lists, 900 deep": ("---", b"\x81" * 900 + b"\x01"),
    "lists, 1,100 deep": ("---", b"\x81" * 1100 + b"\x01"),
    "maps, 127 deep": ("---", b"\xa1\x61a" * 127 + b"\x01"),
}
"""Encoded values of `data`: who takes a payload with it (n: a node, r: `run`, v: `verify`)."""

SIGNATURES: dict[str, tuple[str, DagCborTypes]] = {
    "two signatures": ("nrv", [{"signature": b"s"}, {"signature": b"s", "header": {"a": 1}}]),
    "a signature that is a number": ("---", [1]),
    "a signature without its bytes": ("---", [{"protected": b"{}"}]),
    "a second signature without its bytes": ("---", [{"signature": b"s"}, {}]),
    "a signature that is a text": ("---", [{"signature": "s"}]),
    "a protected header that is a text": ("---", [{"protected": "{}", "signature": b"s"}]),
    "a header that is a list": ("---", [{"header": [], "signature": b"s"}]),
}
"""`signatures` of an envelope."""

DATA_HEADERS: dict[str, tuple[str, DagCborTypes]] = {
    "a header of nothing": ("nrv", None),
    "a header with unknown fields": ("nrv", {"a": 1, "shouldIndex": None}),
    "a header that is a text": ("---", "text"),
    "a number for shouldIndex": ("---", {"shouldIndex": 1}),
    "a text for modelVersion": ("---", {"modelVersion": "text"}),
}
"""`header` of a data event."""

INIT_HEADERS: dict[str, tuple[str, dict[str, DagCborTypes]]] = {
    "a header with unknown fields": ("nrv", {"a": 1, "sep": None, "unique": b"u"}),
    "a text for controllers": ("---", {"controllers": "did:key:z"}),
    "null for controllers": ("---", {"controllers": None}),
    "a number for sep": ("---", {"sep": 1}),
    "a text for unique": ("---", {"unique": "u"}),
    "a text for context": ("---", {"context": "c"}),
    "a number for shouldIndex": ("---", {"shouldIndex": 1}),
}
"""Fields of the `header` of an init event, beside `model`."""


def forms(stream: Stream, prev: bytes) -> dict[str, Form]:
    """All forms, by what is special; those of data events are children of `prev`."""
    ident, parent = b"\x62id" + link(stream.cid), b"\x64prev" + link(prev)

    def form(takes: str, event: Event) -> Form:
        return Form(event, *(letter in takes for letter in "nrv"))

    def data(payload: bytes) -> Event:
        return build_event(stream, "data", prev, sign(payload, stream.controller))

    def fields(name: str, **more: DagCborTypes) -> bytes:
        return encode_dag_cbor({"id": CID(stream.cid), "prev": CID(prev), "data": name, **more})

    def with_signatures(name: str, signatures: DagCborTypes) -> Event:
        payload = block(fields(name))
        root = encode_dag_cbor({"payload": payload.cid, "signatures": signatures})
        return build_event(stream, "data", prev, (payload, block(root, DAG_JOSE, is_root=True)))

    def init(name: str, header: dict[str, DagCborTypes]) -> Event:
        return build_event(
            stream,
            "init",
            None,
            (
                block(
                    encode_dag_cbor({"data": name, "header": {"model": b"m", **header}}),
                    is_root=True,
                ),
            ),
        )

    return {
        "a payload with a tail": form("---", data(fields("tail") + b"\x00")),
        "keys of a payload out of order": form(
            "n--", data(b"\xa3" + parent + ident + b"\x64data\xf6")
        ),
        "prev twice": form("---", data(b"\xa4" + ident + b"\x64data\xf6" + parent + parent)),
        **{
            f"data is {name}": form(takes, data(b"\xa3" + ident + b"\x64data" + value + parent))
            for name, (takes, value) in VALUES.items()
        },
        **{
            name: form(takes, with_signatures(name, value))
            for name, (takes, value) in SIGNATURES.items()
        },
        **{
            f"data event with {name}": form(takes, data(fields(name, header=value)))
            for name, (takes, value) in DATA_HEADERS.items()
        },
        **{
            f"init event with {name}": form(takes, init(name, value))
            for name, (takes, value) in INIT_HEADERS.items()
        },
    }
