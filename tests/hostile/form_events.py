"""Forms of the blocks of an event itself: its envelope, its payload, or a time event's root."""

from collections.abc import Iterator
from typing import Any

from cbrrr import CID, encode_dag_cbor

from flows.synth.events import DAG_JOSE, Block, Event, Stream, block, build_event
from tests.hostile.form_blocks import proof_and_way
from tests.hostile.form_values import VALUES
from tests.support.blocks import link

_SIGNATURES: dict[str, tuple[bool, Any]] = {
    "two signatures": (True, [{"signature": b"s"}, {"signature": b"s", "header": {"a": 1}}]),
    "no signature": (False, []),
    "signatures that are a map": (False, {}),
    "a signature that is a number": (False, [1]),
    "a signature that is a list by position": (True, [[None, b"{}", b"s"]]),
    "a signature that is a list of two": (False, [[b"{}", b"s"]]),
    "a second signature without its bytes": (False, [{"signature": b"s"}, {}]),
    "a signature with an unknown field": (True, [{"signature": b"s", "a": 1}]),
    "a header with NaN": (False, [{"signature": b"s", "header": {"a": "nan"}}]),
}
"""`signatures` of an envelope, and whether a node takes them."""


def event_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    """The name of each form, its event, and whether a node takes it."""
    yield from _payload_forms(stream, prev)
    yield from _envelope_forms(stream, prev)
    yield from _root_forms(stream, prev)


def _payload_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    ident, parent = b"\x62id" + link(stream.cid), b"\x64prev" + link(prev)

    def data(payload: bytes) -> Event:
        return _named(stream, prev, block(payload), block(payload).cid)

    def fields(name: str, **more: Any) -> bytes:
        return encode_dag_cbor({"id": CID(stream.cid), "prev": CID(prev), "data": name, **more})

    yield "a payload with a tail", data(fields("tail") + b"\x00"), False
    yield (
        "keys of a payload out of order",
        data(b"\xa3" + parent + ident + b"\x64data\xf6"),
        True,
    )
    yield "prev twice", data(b"\xa4" + ident + b"\x64data\xf6" + parent + parent), False
    null = b"\x64data\xf6"
    keys: dict[str, tuple[bool, bytes]] = {
        "that are the numbers of fields": (True, b"\xa3\x00%b\x01%b\x03\xf6"),
        "of which one is a number": (True, b"\xa3\x00%b\x64prev%b\x64data\x00"),
        "that are byte strings": (True, b"\xa3\x42id%b\x44prev%b\x44data\x01"),
        "of which one is an unknown number": (True, b"\xa4\x62id%b\x64prev%b\x18\x63\x01" + null),
        "of which one is -1": (False, b"\xa4\x62id%b\x64prev%b\x20\x02" + null),
        "of which one is a list": (False, b"\xa4\x62id%b\x64prev%b\x80\x03" + null),
        "of which one is null": (False, b"\xa4\x62id%b\x64prev%b\xf6\x04" + null),
        "of which one is bytes and no UTF-8": (
            True,
            b"\xa4\x62id%b\x64prev%b\x41\xff\x05" + null,
        ),
        "of which one is there by name and number": (
            False,
            b"\xa4\x62id%b\x64prev%b\x00\x06" + null,
        ),
        "of which an unknown one is there twice": (
            True,
            b"\xa5\x62id%b\x64prev%b\x61z\x07\x61z\x08" + null,
        ),
    }
    for name, (taken, payload) in keys.items():
        named = (link(stream.cid), link(prev))
        yield f"a payload with keys {name}", data(payload % named), taken
    skipped: dict[str, tuple[bool, bytes]] = {
        "not a number": (True, b"\xfb\x7f\xf8" + bytes(6)),
        "infinity": (True, b"\xfb\x7f\xf0" + bytes(6)),
        "a key twice": (True, b"\xa2\x61a\x01\x61a\x02"),
        "a key that is a number": (True, b"\xa1\x01\x01"),
        "a key that is a list": (True, b"\xa1\x80\x01"),
        "a link to half a CID": (True, b"\xd8\x2a\x43\x00\x01\x71"),
        "a link without the zero": (False, b"\xd8\x2a\x43\x01\x71\x00"),
        "a link to nothing": (False, b"\xd8\x2a\x41\x00"),
        "-2^63 - 1": (False, b"\x3b\x80" + bytes(7)),
        "a text that is no UTF-8": (False, b"\x62\xff\xfe"),
        "lists, 126 deep": (True, b"\x81" * 126 + b"\x01"),
        "lists, 127 deep, of nothing": (True, b"\x81" * 126 + b"\x80"),
        "lists, 128 deep, of nothing": (False, b"\x81" * 127 + b"\x80"),
        "lists, 127 deep": (False, b"\x81" * 127 + b"\x01"),
    }
    for name, (taken, value) in skipped.items():
        event = data(b"\xa4" + ident + b"\x64data\x09" + parent + b"\x67unknown" + value)
        yield f"a payload with an unknown field that is {name}", event, taken
    for name, (taken, value) in VALUES.items():
        event = data(b"\xa3" + ident + b"\x64data" + value + parent)
        yield f"data is {name}", event, taken
    links = [CID(stream.cid), CID(prev)]
    header = [["did:key:z"], "model", b"model"]
    by_position: dict[str, tuple[bool, Any]] = {
        "a payload that is a list by position": (True, [*links, None, "by position"]),
        "a payload that is a list of three": (False, [*links, "three"]),
        "a payload that is a list of five": (False, [*links, None, "five", 1]),
        "an init payload that is a list by position": (True, [{"model": b"m"}, "init"]),
        "an init payload that is a list of one": (False, [{"model": b"m"}]),
        "a data header that is a list by position": (
            True,
            {"id": links[0], "prev": links[1], "data": "h", "header": [True, None]},
        ),
        "a data header that is a list of three": (
            False,
            {"id": links[0], "prev": links[1], "data": "h", "header": [True, None, 1]},
        ),
        "an init header that is a list by position": (True, {"header": header, "data": 1}),
        "an init header that is a list of two": (False, {"header": header[:2], "data": 2}),
        "an init header that is a list of seven": (
            True,
            {"header": [*header, None, None, None, None], "data": 7},
        ),
        "an init header that is a list of eight": (
            False,
            {"header": [*header, None, None, None, None, None], "data": 8},
        ),
        "data with a bad header that is also an init": (
            True,
            {
                "id": links[0],
                "prev": links[1],
                "data": "both",
                "header": {"model": b"m", "shouldIndex": None, "modelVersion": None},
            },
        ),
        "data without a good prev that is also an init": (
            True,
            {"id": links[0], "prev": 1, "data": "init", "header": {"model": b"m"}},
        ),
        "a header with unknown fields": (
            True,
            {"id": links[0], "prev": links[1], "data": "x", "header": {"a": 1}},
        ),
    }
    for name, (taken, payload) in by_position.items():
        yield name, data(encode_dag_cbor(payload)), taken


def _named(
    stream: Stream, prev: bytes, payload: Block, cid: bytes, signatures: Any = None
) -> Event:
    """A signed event whose envelope names its payload so."""
    fields = {"payload": cid, "signatures": signatures or [{"signature": b"s"}]}
    root = block(encode_dag_cbor(fields), DAG_JOSE, is_root=True)
    return build_event(stream, "data", prev, (payload, root))


def _envelope_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    def payload(name: str) -> Block:
        return block(encode_dag_cbor({"id": CID(stream.cid), "prev": CID(prev), "data": name}))

    for name, (taken, signatures) in _SIGNATURES.items():
        fields = {"payload": payload(name).cid, "signatures": signatures}
        content = encode_dag_cbor(fields).replace(b"\x63nan", b"\xfb\x7f\xf8" + bytes(6))
        root = block(content, DAG_JOSE, is_root=True)
        yield (
            f"envelope with {name}",
            build_event(stream, "data", prev, (payload(name), root)),
            taken,
        )
    names: dict[str, tuple[bool, bytes]] = {
        "with bytes behind it": (True, b"%b\x00\x01"),
        "behind a zero": (False, b"\x00%b"),
        "with a codec in a byte too many": (False, b""),
    }
    for name, (taken, how) in names.items():
        one = payload(name)
        cid = how % one.cid if how else b"\x01\xf1\x00" + one.multihash
        yield f"envelope whose payload is a CID {name}", _named(stream, prev, one, cid), taken
    one = payload("version 0")
    yield (
        "envelope whose payload is a CID of version 0",
        _named(stream, prev, one, one.multihash),
        False,
    )
    one = payload("jose")
    yield (
        "envelope whose payload is a CID of another codec",
        _named(stream, prev, one, b"\x01\x85\x01" + one.multihash),
        False,
    )
    one = payload("by position")
    root = block(encode_dag_cbor([one.cid, [{"signature": b"s"}]]), DAG_JOSE, is_root=True)
    yield (
        "an envelope that is a list by position",
        build_event(stream, "data", prev, (one, root)),
        True,
    )


def _root_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, bool]]:
    links = {"id": CID(stream.cid), "prev": CID(prev)}

    def time(name: str, more: dict[str, Any], codec: int = 0x71) -> Event:
        proof, path, nodes = proof_and_way(prev, name, lambda fields: fields)
        fields = {**links, "proof": CID(proof.cid), "path": path, **more}
        root = block(encode_dag_cbor(fields), codec, is_root=True)
        return build_event(stream, "time", prev, (root, proof, *nodes))

    # a node encodes a time event anew, and serves it under the CID of that
    more: dict[str, dict[str, Any]] = {
        "an unknown field": {"a": 1},
        "the fields of an envelope": {"payload": b"p", "signatures": []},
        "data": {"data": 1},
        "a header with a model": {"header": {"model": b"m"}},
    }
    for name, fields in more.items():
        yield f"a time event with {name}", time(name, fields), False
    yield "a time event of the codec dag-jose", time("jose", {}, DAG_JOSE), False
    proof, path, nodes = proof_and_way(prev, "by position", lambda fields: fields)
    root = encode_dag_cbor([*links.values(), CID(proof.cid), path])
    yield (
        "a time event that is a list by position",
        build_event(stream, "time", prev, (block(root, is_root=True), proof, *nodes)),
        False,
    )
    inits: dict[str, tuple[bool, Any]] = {
        "without data": (True, {"header": {"model": b"without"}}),
        "that is a list by position": (True, [{"model": b"listed"}, 1]),
        "with unknown fields": (True, {"header": {"model": b"m", "a": 1}, "data": 1, "b": 2}),
        "with data 126 lists deep": (True, {"header": {"model": b"d"}, "data": _lists(126)}),
        "with data 127 lists deep": (False, {"header": {"model": b"d"}, "data": _lists(127)}),
    }
    for name, (taken, content) in inits.items():
        init = block(encode_dag_cbor(content), is_root=True)
        yield f"an unsigned init {name}", build_event(stream, "init", None, (init,)), taken


def _lists(deep: int) -> Any:
    value: Any = 1
    for _ in range(deep):
        value = [value]
    return value
