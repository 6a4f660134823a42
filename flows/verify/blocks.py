"""From the bytes of a block to what it can be in an event: the only place where the verifier decodes (with cbrrr).

A block does not say what it is for, so it is read as everything that it could be; the SQL joins
then ask for the reading that an event needs of it. Each reading is a row of one table of
`READINGS`, whose names, columns and field types are the contract with the SQL.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from json import loads
from typing import Any

import pyarrow as pa
from cbrrr import decode_dag_cbor

from flows.verify.cids import Link, cid_of_text, is_cid, read_link

_MULTIHASH = pa.field("multihash", pa.binary(), nullable=False)
READINGS = {
    "block_time": pa.schema(
        [
            _MULTIHASH,
            pa.field("stream", pa.binary(), nullable=False),  # link `id`
            pa.field("prev", pa.binary(), nullable=False),
            pa.field("proof", pa.binary(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
        ]
    ),
    "block_envelope": pa.schema(
        [
            _MULTIHASH,
            pa.field("payload", pa.binary(), nullable=False),  # CID in the byte string `payload`
            pa.field("signatures", pa.int64(), nullable=False),  # how many
            pa.field(
                "capability", pa.binary()
            ),  # CID in the `cap` of the first signature's protected header; null: none
        ]
    ),
    "block_data": pa.schema(
        [
            _MULTIHASH,
            pa.field("stream", pa.binary(), nullable=False),  # link `id`
            pa.field("prev", pa.binary(), nullable=False),
        ]
    ),
    "block_init": pa.schema([_MULTIHASH]),
    "block_proof": pa.schema([_MULTIHASH, pa.field("root", pa.binary(), nullable=False)]),
    "block_capability": pa.schema([_MULTIHASH]),
    "block_node": pa.schema(
        [_MULTIHASH, pa.field("links", pa.list_(pa.binary()), nullable=False)]
    ),  # null: an item that is no link
    "block_other": pa.schema(
        [_MULTIHASH, pa.field("why", pa.string(), nullable=False)]
    ),  # nothing that an event can use
}
"""Table name to schema; one row for each reading of a block, the CIDs binary (FORMAT.md, The
four kinds of event)."""

MAX_DEPTH = 127
"""Lists and maps inside each other that the node can read: its decoder (serde_ipld_dagcbor)
takes 256 steps, two for each."""

_ALL_BUT_HEADS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't begin a list or map with something in it."""

REMEMBERED_HEADERS = 32_768
REMEMBERED_BYTES = 512
"""A session signs all its events with the same header of some 200 bytes. Longer ones are not
remembered, so these take 30 MB at most."""

_CAPABILITY_TEXTS = {
    "h": ("t",),
    "p": ("aud", "domain", "iat", "iss", "nonce", "version"),
    "s": ("t", "s"),
}

Row = tuple[Any, ...]
Reading = tuple[str, Row]


def read_blocks(multihashes: Iterable[bytes], blocks: Iterable[bytes]) -> dict[str, pa.Table]:
    """Decode blocks (bytes, beside their multihashes) into tables of `READINGS`, without empty ones; a bad block never raises."""
    rows: dict[str, list[Row]] = {name: [] for name in READINGS}
    for multihash, block in zip(multihashes, blocks, strict=True):
        for name, cells in read_block(block):
            rows[name].append((multihash, *cells))
    return {
        name: _table(rows_of_a_name, READINGS[name])
        for name, rows_of_a_name in rows.items()
        if rows_of_a_name
    }


def read_block(block: bytes) -> list[Reading]:
    """Everything that a block can be: names of `READINGS`, each with the cells behind `multihash`; never none."""
    try:
        content = decode_dag_cbor(block, cid_ctor=read_link)
    except ValueError as error:
        return [("block_other", (f"not DAG-CBOR: {error}",))]
    usual = _usual_reading(content)
    if usual is not None:
        return [usual]
    if (
        len(block) > MAX_DEPTH
        and len(block.translate(None, _ALL_BUT_HEADS)) > MAX_DEPTH
        and _is_too_deep(content)
    ):
        return [("block_other", (f"nested more than {MAX_DEPTH} deep",))]
    readings = list(_readings(content))
    if _VERY_NEGATIVE.search(block) and _is_too_negative(content):
        readings = [reading for reading in readings if reading[0] in _TAKES_ALL_INTEGERS]
    return readings or [("block_other", ("no block of an event has this shape",))]


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _is_too_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        inside = [item for item in level if isinstance(item, dict | list)]
        if not inside:
            return False
        level = [
            item
            for parent in inside
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return True


_LEAST_INTEGER = -(2**63)
_VERY_NEGATIVE = re.compile(rb"\x3b[\x80-\xff]")
"""How an integer below -2^63 begins; in other bytes it means nothing."""

_TAKES_ALL_INTEGERS = {"block_proof", "block_capability", "block_node"}
"""The node keeps other blocks in a type that has no integers below -2^63 (tests/hostile/forms.py)."""


def _is_too_negative(content: Any) -> bool:
    for item in (
        content.values()
        if type(content) is dict
        else content
        if type(content) is list
        else (content,)
    ):
        kind = type(item)
        if kind is int:
            if item < _LEAST_INTEGER:
                return True
        elif (kind is dict or kind is list) and _is_too_negative(item):
            return True
    return False


def _usual_reading(content: Any) -> Reading | None:
    """The one reading of a block in a layout without anything nested that nodes write; None leaves any other to `_readings`."""
    if type(content) is list:
        return ("block_node", (content,)) if {*map(type, content)} == {Link} else None
    if type(content) is not dict:
        return None
    keys = tuple(content)
    if keys == ("payload", "signatures"):
        payload, signatures = content.values()
        if (
            type(payload) is bytes
            and is_cid(payload)
            and type(signatures) is list
            and len(signatures) == 1
        ):
            signature = signatures[0]
            if type(signature) is dict and tuple(signature) == ("protected", "signature"):
                protected = signature["protected"]
                if type(protected) is type(signature["signature"]) is bytes:
                    return "block_envelope", (payload, 1, _capability_cid(protected))
    elif keys == ("id", "path", "prev", "proof"):
        stream, path, prev, proof = content.values()
        if type(stream) is type(prev) is type(proof) is Link and type(path) is str:
            return "block_time", (stream, prev, proof, path)
    return None


def _readings(content: Any) -> Iterator[Reading]:
    if type(content) is list:
        yield "block_node", ([item if type(item) is Link else None for item in content],)
    if type(content) is not dict:
        return
    if "signatures" in content:
        envelope = _envelope(content)
        if envelope:
            yield "block_envelope", envelope
    if "prev" in content and type(content.get("id")) is type(content["prev"]) is Link:
        yield from _child_readings(content)
    if "header" in content and _is_init_header(content["header"]):
        yield "block_init", ()
    if "txHash" in content and _is_proof(content):
        yield "block_proof", (content["root"],)
    if "h" in content and _is_capability(content):
        yield "block_capability", ()


def _child_readings(content: dict[str, Any]) -> Iterator[Reading]:
    stream, prev = content["id"], content["prev"]
    if "data" in content and ("header" not in content or _is_data_header(content["header"])):
        yield "block_data", (stream, prev)
    if type(content.get("proof")) is Link and type(content.get("path")) is str:
        yield "block_time", (stream, prev, content["proof"], content["path"])


def _is_init_header(header: Any) -> bool:
    if type(header) is not dict or type(header.get("model")) is not bytes:
        return False
    controllers = header.get("controllers", [])
    return (
        type(controllers) is list
        and {*map(type, controllers)} <= {str}
        and _has(header, _INIT_HEADER)
    )


def _is_data_header(header: Any) -> bool:
    return header is None or (type(header) is dict and _has(header, _DATA_HEADER))


_INIT_HEADER = {"sep": str, "shouldIndex": bool, "unique": bytes, "context": bytes}
_DATA_HEADER = {"shouldIndex": bool, "modelVersion": bytes}


def _has(fields: dict[str, Any], types: dict[str, type]) -> bool:
    """Whether each of these fields is of its type, null or absent: the node refuses the whole event otherwise."""
    for name, kind in types.items():
        value = fields.get(name)
        if value is not None and not isinstance(value, kind):
            return False
    return True


def _is_proof(content: dict[str, Any]) -> bool:
    links, texts = ("root", "txHash"), ("chainId", "txType")
    return all(type(content.get(name)) is Link for name in links) and all(
        type(content.get(name)) is str for name in texts
    )


def _envelope(content: dict[str, Any]) -> Row | None:
    payload, signatures = content.get("payload"), content["signatures"]
    if type(payload) is not bytes or not is_cid(payload) or type(signatures) is not list:
        return None
    for signature in signatures:
        if type(signature) is not dict or type(signature.get("signature")) is not bytes:
            return None
        protected, header = signature.get("protected"), signature.get("header")
        if not (protected is None or type(protected) is bytes) or not (
            header is None or type(header) is dict
        ):
            return None
    protected = signatures[0].get("protected") if signatures else None
    return payload, len(signatures), None if protected is None else _capability_cid(protected)


NO_BLOCK = b"\x01\x55\x00\x00"
"""A CID by the identity of nothing, which no node stores."""


def _capability_cid(protected: bytes) -> bytes | None:
    return (
        _remembered_cid(protected)
        if len(protected) <= REMEMBERED_BYTES
        else _remembered_cid.__wrapped__(protected)
    )


@lru_cache(REMEMBERED_HEADERS)
def _remembered_cid(protected: bytes) -> bytes | None:
    # few headers name a capability, and reading JSON takes long; `\` may spell the word in escapes
    if b"cap" not in protected and b"\\" not in protected:
        return None
    try:
        header = loads(protected.decode())
    except (ValueError, RecursionError):
        return None
    uri = header.get("cap") if type(header) is dict else None
    if uri is None:
        return None
    # a capability that names nothing can't be loaded, as one that is not there
    return (
        cid_of_text(uri.removeprefix("ipfs://"))
        if type(uri) is str and uri.startswith("ipfs://")
        else None
    ) or NO_BLOCK


def _is_capability(content: dict[str, Any]) -> bool:
    for part, names in _CAPABILITY_TEXTS.items():
        fields = content.get(part)
        if type(fields) is not dict or any(type(fields.get(name)) is not str for name in names):
            return False
    return True
