"""Forms of what events share: the capability and how it is named, proofs, nodes and paths."""

from collections.abc import Iterator
from typing import Any

from cbrrr import CID, encode_dag_cbor
from libipld import encode_multibase

from flows.synth.events import (
    DAG_CBOR,
    Block,
    Event,
    Stream,
    Witness,
    block,
    build_event,
    capability,
    time_event,
)
from tests.hostile.form_blocks import proof_and_way, protected_event, sign_by
from tests.support.blocks import link

_CAP = capability("did:pkh:eip155:1:0x0", 1).block
_NAME = b"ipfs://" + encode_multibase("b", _CAP.cid).encode()
_FULL = b'{"cap":"%b"}' % _NAME

NAMED: dict[str, bytes] = {
    "usual": _FULL,
    "with spaces": b' {"cap"\t:\n"%b"}\r ' % _NAME,
    "with an escape in the key": b'{"c\\u0061p":"%b"}' % _NAME,
    "with an escape in the scheme": b'{"cap":"\\u0069pfs:\\/\\/%b"}' % _NAME[7:],
    "by position": b'["%b"]' % _NAME,
    "next to another key twice": b'{"a":1,"a":2,"cap":"%b"}' % _NAME,
    "next to a number of 5,000 digits": b'{"a":%b,"cap":"%b"}' % (b"9" * 5000, _NAME),
    "next to 1e999": b'{"a":1e999,"cap":"%b"}' % _NAME,
    "next to lists 1,000 deep": b'{"a":%b%b,"cap":"%b"}' % (b"[" * 1000, b"]" * 1000, _NAME),
    "next to a text that is no UTF-8": b'{"a":"\xff","cap":"%b"}' % _NAME,
    "next to half a character": b'{"a":"\\ud800","cap":"%b"}' % _NAME,
    "in base32 in upper case": b'{"cap":"ipfs://%b"}' % encode_multibase("B", _CAP.cid).encode(),
    "in base16": b'{"cap":"ipfs://%b"}' % encode_multibase("f", _CAP.cid).encode(),
    "in base58": b'{"cap":"ipfs://%b"}' % encode_multibase("z", _CAP.cid).encode(),
    "in base64": b'{"cap":"ipfs://%b"}' % encode_multibase("u", _CAP.cid).encode(),
    "in base36": b'{"cap":"ipfs://%b"}' % encode_multibase("k", _CAP.cid).encode(),
    "behind a path": b'{"cap":"ipfs://x/ipfs/%b"}' % _NAME[7:],
    "with bytes behind the CID": (
        b'{"cap":"ipfs://%b"}' % encode_multibase("b", _CAP.cid + b"\x00").encode()
    ),
}
"""Protected headers that name a capability to a node: it needs the capability's block."""

NOT_NAMED: dict[str, bytes] = {
    "of another scheme": b'{"cap":"https://x"}',
    "without a CID": b'{"cap":"ipfs://junk"}',
    "without anything": b'{"cap":"ipfs://"}',
    "with the scheme in upper case": b'{"cap":"IPFS://%b"}' % _NAME[7:],
    "in hex": b'{"cap":"ipfs://%b"}' % _CAP.cid.hex().encode(),
    "with a blank before the CID": b'{"cap":"ipfs:// %b"}' % _NAME[7:],
    "with a blank behind the CID": b'{"cap":"%b "}' % _NAME,
    "with a slash behind the CID": b'{"cap":"%b/"}' % _NAME,
    "that is a number": b'{"cap":5}',
    "that is null": b'{"cap":null}',
    "that is a list": b'{"cap":["%b"]}' % _NAME,
    "twice": b'{"cap":"%b","cap":"%b"}' % (_NAME, _NAME),
    "by position with more": b'["%b",1]' % _NAME,
    "in a text": b'"%b"' % _NAME,
    "next to NaN": b'{"a":NaN,"cap":"%b"}' % _NAME,
    "next to a comma too many": b'{"a":[1,],"cap":"%b"}' % _NAME,
    "next to a number with a zero": b'{"a":01,"cap":"%b"}' % _NAME,
    "next to a key that is no UTF-8": b'{"\xff":1,"cap":"%b"}' % _NAME,
    "next to a control character": b'{"a":"\n","cap":"%b"}' % _NAME,
    "with a text behind": _FULL + b"x",
    "with a comma at the end": _FULL[:-1] + b",}",
    "with a byte order mark": b"\xef\xbb\xbf" + _FULL,
    "in UTF-16": _FULL.decode().encode("utf-16"),
    "with half a character": b'{"cap":"\\ud800%b"}' % _NAME,
    "in a header that is empty": b"",
    "in a header that ends early": _FULL[:-1],
    "under another key": b'{"cap2":"%b"}' % _NAME,
}
"""Protected headers that name no capability to a node: it serves the event without one."""

_GRANT: dict[str, Any] = {
    "aud": "did:key:z",
    "domain": "app.example",
    "iat": "now",
    "iss": "did:pkh:x",
    "version": "1",
}

STEPPED_OVER: dict[str, tuple[bool, bytes]] = {
    "-2^64": (True, b"\x3b" + b"\xff" * 8),
    "a list without a length": (True, b"\x9f\x01\x9f\xff\xff"),
    "a map without a length": (True, b"\xbf\x01\x02\x61a\xbf\xff\xff"),
    "a map without a length that ends behind a key": (False, b"\xbf\x01\xff"),
    "bytes in parts that are none": (True, b"\x5f\x01\x61a\xff"),
    "tag 43": (True, b"\xd8\x2b\xc1\x01"),
    "a link to nothing": (True, b"\xd8\x2a\x40"),
    "undefined": (True, b"\xf7"),
    "a simple value": (False, b"\xf8\x20"),
    "a float of 16 bits": (True, b"\xf9\x3c\x00"),
    "not a number": (True, b"\xfb\x7f\xf8" + bytes(6)),
    "a key twice": (True, b"\xa2\x61a\x01\x61a\x02"),
    "a key that is a list": (True, b"\xa1\x81\x01\x02"),
    "a text that is no UTF-8": (True, b"\x62\xff\xfe"),
    "a text that is cut off": (False, b"\x7a\xff\xff\xff\xff"),
    "tags, 240 deep": (True, b"\xc1" * 240 + b"\x01"),
    "tags, 260 deep": (False, b"\xc1" * 260 + b"\x01"),
}
"""Values of a field that a node does not ask for, in a proof or a capability."""

_TIMES = (
    *("2024-08-23T10:00:00Z", "2024-08-23T10:00:00.123456789Z", "2024-08-23T10:00:00+14:00"),
    *("2024-02-30T25:61:61Z", "1724407200", "2024", "", "no time"),
)
"""Of a capability. A node keeps them as they are, and reads them as times when it validates an
event that arrives, not when it serves one."""


def shared_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    """The name of each form, its event, and whether a node takes it."""
    for name, header in NAMED.items():
        form = f"capability named {name}"
        yield form, protected_event(stream, prev, form, header, (_CAP,)), True
        form = f"capability not listed, named {name}"
        yield form, protected_event(stream, prev, form, header), False
    for name, header in NOT_NAMED.items():
        form = f"capability {name}"
        yield form, protected_event(stream, prev, form, header), True
    yield from _capability_forms(stream, prev)
    yield from _proof_forms(stream, prev)
    yield from _witness_forms(stream, prev)


def _capability_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    def signed(name: str, capability: bytes, codec: int = DAG_CBOR) -> tuple[str, Event]:
        name = f"capability {name}"
        return name, sign_by(stream, prev, name, block(capability, codec))

    def fields(name: str, **more: Any) -> dict[str, Any]:
        whole = {
            "h": {"t": "eip4361"},
            "p": {**_GRANT, "nonce": name},
            "s": {"t": "jws", "s": "s"},
        }
        return whole | more

    def encoded(name: str, **more: Any) -> bytes:
        return encode_dag_cbor(fields(name, **more))

    def metadata(name: str, value: bytes) -> bytes:
        whole = encoded(name, s={"m": "here", "s": "s", "t": "jws"})
        return whole.replace(b"\x64here", value)

    for field in ("iat", "exp", "nbf"):
        for time in _TIMES:
            name = f"whose {field} is {time!r}"
            yield *signed(name, encoded(name, p={**_GRANT, "nonce": name, field: time})), True
    yield *signed("with a tail", encoded("tail") + b"\x00"), False
    yield *signed("that is a list", encode_dag_cbor(list(fields("list").values()))), False
    for depth, taken in ((250, True), (253, True), (256, False), (300, False)):
        value = b"\x81" * depth + b"\x01"
        name = f"with a field {depth} deep"
        whole = encoded(name, z="deep").replace(b"\x64deep", value)
        yield *signed(name, whole), taken
        name = f"with a field {depth} deep in p"
        whole = encoded(name, p={**_GRANT, "nonce": name, "zzzzzzzz": "deep"})
        yield *signed(name, whole.replace(b"\x64deep", value)), taken
    values: dict[str, tuple[bool, bytes]] = {
        "the largest number": (True, b"\x1b" + b"\xff" * 8),
        "-2^63": (True, b"\x3b\x7f" + b"\xff" * 7),
        "-2^63 - 1": (False, b"\x3b\x80" + bytes(7)),
        "a map with -2^64": (False, b"\xa1\x61a\x3b" + b"\xff" * 8),
        "alg and kid, and a list": (True, b"\xa3\x61a\x80\x63alg\x61a\x63kid\x61k"),
        "a number in nine bytes": (True, b"\x1b" + bytes(7) + b"\x01"),
        "not a number": (False, b"\xfb\x7f\xf8" + bytes(6)),
        "lists 100 deep": (True, b"\x81" * 100 + b"\x01"),
        "lists 125 deep": (True, b"\x81" * 125 + b"\x01"),
        "lists 126 deep": (True, b"\x81" * 126 + b"\x01"),
        "lists 127 deep": (False, b"\x81" * 127 + b"\x01"),
        "lists 128 deep": (False, b"\x81" * 128 + b"\x01"),
        "lists 126 deep, with nothing": (True, b"\x81" * 125 + b"\x80"),
        "lists 127 deep, with nothing": (False, b"\x81" * 126 + b"\x80"),
        "a link in parts": (True, b"\xd8\x2a\x5f" + link(prev)[2:] + b"\xff"),
    }
    for what, (taken, value) in values.items():
        name = f"whose metadata is {what}"
        yield *signed(name, metadata(name, value)), taken
    for what, (taken, value) in STEPPED_OVER.items():
        name = f"with {what} in an unknown field"
        yield *signed(name, encoded(name, z="here").replace(b"\x64here", value)), taken
    name = "with a text in parts"
    parts = b"\x7f\x62ap\x7f\x69p.example\xff\xff"
    yield *signed(name, encoded(name).replace(b"\x6bapp.example", parts)), True
    name = "whose type is in a map"
    yield *signed(name, encoded(name).replace(b"\x67eip4361", b"\xa1\x67eip4361")), True


def _proof_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    for what, (taken, value) in STEPPED_OVER.items():
        name = f"proof with {what} in an unknown field"
        proof, path, nodes = proof_and_way(prev, name, lambda fields: {**fields, "zz": "here"})
        content = proof.content.replace(b"\x64here", value)
        yield name, time_event(stream, prev, Witness(block(content), path, nodes)), taken
    for depth, taken in ((254, True), (256, False), (300, False)):
        name = f"proof with a field {depth} deep"
        proof, path, nodes = proof_and_way(prev, name, lambda fields: {**fields, "zz": "deep"})
        content = proof.content.replace(b"\x64deep", b"\x81" * depth + b"\x01")
        witness = Witness(block(content), path, nodes)
        yield name, time_event(stream, prev, witness), taken
    # a node's decoder takes the length of a key from its head, and looks for few other bits there
    for key, like in (
        (b"\x06txHash", "whose head is that of a number"),
        (b"\x26txHash", "whose head is that of a negative one"),
        (b"\x46txHash", "whose head is that of bytes"),
        (b"\x7f\x62tx\x64Hash\xff", "in parts"),
    ):
        name = f"proof with a key {like}"
        proof, path, nodes = proof_and_way(prev, name, lambda fields: fields)
        content = proof.content.replace(b"\x66txHash", key)
        yield name, time_event(stream, prev, Witness(block(content), path, nodes)), True
    name = "proof with a tail"
    proof, path, nodes = proof_and_way(prev, name, lambda fields: fields)
    yield name, time_event(stream, prev, Witness(block(proof.content + b"\0"), path, nodes)), False
    name = "proof that is a list"
    content = encode_dag_cbor(["eip155:1", CID(prev), CID(prev), "f"])
    yield name, time_event(stream, prev, Witness(block(content), "", ())), False


def _witness_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    def through(name: str, path: str, *nodes: Block) -> tuple[str, Event]:
        root = CID(nodes[0].cid)
        proof, _, _ = proof_and_way(prev, name, lambda fields: {**fields, "root": root})
        return name, time_event(stream, prev, Witness(proof, path, nodes))

    def node(*items: Any) -> Block:
        return block(encode_dag_cbor(list(items)))

    leaf = node(None, CID(prev))
    upper = node(CID(leaf.cid), None)
    yield *through("a way of two nodes", "0/1", upper, leaf), True
    for index, taken in (
        ("+0", True),
        ("00", True),
        ("0000000000", True),
        ("-0", False),
        (" 0", False),
        ("", False),
        ("0x0", False),
        ("\u0660", False),
        ("++0", False),
        ("18446744073709551616", False),
        ("2", False),
        ("1", False),
    ):
        yield *through(f"path whose first index is `{index}`", f"{index}/1", upper, leaf), taken
    for index, taken in (("+1", True), ("0000000001", True), ("01", True)):
        yield *through(f"path whose last index is `{index}`", f"0/{index}", upper, leaf), taken
    # a node looks no further than to the node that should hold prev
    for index in ("x", "0", "2", "99999999999999999999"):
        yield (
            *through(f"path whose last index leads astray to `{index}`", f"0/{index}", upper, leaf),
            True,
        )
    deep = [leaf]
    for steps in range(1, 1100):
        deep.insert(0, node(CID(deep[0].cid)))
        if steps in {70, 1023, 1099}:
            yield *through(f"path of {steps + 1} indices", "0/" * steps + "1", *deep), True
    items: dict[str, tuple[bool, bytes]] = {
        "an integer below -2^63": (True, b"\x3b" + b"\xff" * 8),
        "a number in nine bytes": (True, b"\x1b" + bytes(7) + b"\x01"),
        "lists 126 deep": (True, b"\x81" * 126 + b"\x01"),
        "lists 127 deep": (False, b"\x81" * 127 + b"\x01"),
        "lists 128 deep": (False, b"\x81" * 128 + b"\x01"),
        "a text": (True, b"\x61a"),
        "not a number": (False, b"\xfb\x7f\xf8" + bytes(6)),
        "a key whose head is that of a number": (True, b"\xa1\x01a\x01"),
        "a key in parts": (True, b"\xa1\x7f\x61a\x61b\xff\x01"),
        "a key twice": (False, b"\xa2\x61a\x01\x01a\x01"),
        "a link in parts": (True, b"\xd8\x2a\x5f" + link(prev)[2:] + b"\xff"),
    }
    for name, (taken, item) in items.items():
        content = encode_dag_cbor(["item", CID(prev)]).replace(b"\x64item", item)
        yield *through(f"node with {name}", "1", block(content)), taken
    yield (
        *through("node that is a map", "0/1", block(encode_dag_cbor({"0": CID(leaf.cid)})), leaf),
        False,
    )
    yield *through("node that is a link", "1", block(encode_dag_cbor(CID(prev)))), False
    bytes_of = node(leaf.cid, None)
    yield *through("node with the bytes of a CID", "0/1", bytes_of, leaf), False
    jose = block(leaf.content, 0x85)
    by_jose = node(CID(jose.cid), None)
    yield *through("node under the codec dag-jose", "0/1", by_jose, jose), True
    yield *through("node linked to by another codec", "0/1", by_jose, leaf), False
    listed = time_event(stream, prev)
    root = next(one for one in listed.blocks if one.is_root)
    proof = next(one for one in listed.blocks if not one.is_root)
    unlisted = build_event(stream, "time", prev, (root, proof, block(b"\xff more than is needed")))
    yield "a spare block that is no DAG-CBOR", unlisted, True
