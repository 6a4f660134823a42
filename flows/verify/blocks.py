"""From the bytes of a block to what it can be in an event: where the verifier decodes.

A block does not say what it is for, so it is read as everything that it could be; the SQL joins
then ask for the reading that an event needs of it. Each reading is a row of one table of
`READINGS`, whose names, columns and field types are the contract with the SQL.

A reading is there where the node's decoder has one. Blocks that are strict DAG-CBOR, as all that
nodes write are, come from cbrrr; the few others from `flows.verify.loose`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from cbrrr import CID, DagCborTypes, decode_dag_cbor, encode_dag_cbor

from flows.verify.capability import is_capability
from flows.verify.cids import Link, cid_at_start, read_link
from flows.verify.loose import Map, Reader, is_map, is_value
from flows.verify.protected import capability_cid

_MULTIHASH = pa.field("multihash", pa.binary(), nullable=False)
READINGS = {
    "block_time": pa.schema(
        [
            _MULTIHASH,
            pa.field("stream", pa.binary(), nullable=False),  # link `id`
            pa.field("prev", pa.binary(), nullable=False),
            pa.field("proof", pa.binary(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            # whether the node would write just these bytes for these fields
            pa.field("is_encoded_alike", pa.bool_(), nullable=False),
        ]
    ),
    "block_envelope": pa.schema(
        [
            _MULTIHASH,
            pa.field("payload", pa.binary(), nullable=False),  # CID in the byte string `payload`
            pa.field("signatures", pa.int64(), nullable=False),  # how many
            # CID in the `cap` of the first signature's protected header; null: none
            pa.field("capability", pa.binary()),
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
        # null: an item that is no link
        [_MULTIHASH, pa.field("links", pa.list_(pa.binary()), nullable=False)]
    ),
    # nothing that an event can use
    "block_other": pa.schema([_MULTIHASH, pa.field("why", pa.string(), nullable=False)]),
}
"""Table name to schema; one row for each reading of a block, the CIDs binary (FORMAT.md, The
four kinds of event)."""

DEEP = 127
"""Lists and maps inside each other that are never too deep for the node; whether more are depends
on what the block is read as."""

_ALL_BUT_HEADS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't begin a list or map with something in it."""

_VERY_NEGATIVE = re.compile(rb"\x3b[\x80-\xff]")
"""How an integer below -2^63 begins, which the node takes in some blocks. Within other values
these bytes mean nothing."""

Row = tuple[Any, ...]
Reading = tuple[str, Row]


def read_blocks(multihashes: Iterable[bytes], blocks: Iterable[bytes]) -> dict[str, pa.Table]:
    """Decode blocks into tables of `READINGS`, without empty ones; a bad block never raises.

    Args:
        multihashes: what each block is stored under.
        blocks: their bytes.
    """
    rows: dict[str, list[Row]] = {name: [] for name in READINGS}
    for multihash, block in zip(multihashes, blocks, strict=True):
        for name, cells in read_block(block):
            rows[name].append((multihash, *cells))
    return {
        name: _table(rows_of_a_name, READINGS[name])
        for name, rows_of_a_name in rows.items()
        if rows_of_a_name
    }


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def read_block(block: bytes) -> list[Reading]:
    """Everything that a block can be: names of `READINGS`, each with the cells after `multihash`.

    There is always one.
    """
    try:
        content = decode_dag_cbor(block, cid_ctor=read_link)
    except ValueError as error:
        return _exact_readings(block) or [("block_other", (f"not DAG-CBOR: {error}",))]
    usual = _usual_reading(content, block)
    if usual is not None:
        return [usual]
    if _may_be_deep(block, content) or _VERY_NEGATIVE.search(block):
        readings = _exact_readings(block)
    else:
        readings = [*_event_readings(content, block), *_other_readings(content, block)]
    return readings or [("block_other", ("no block of an event has this shape",))]


def _may_be_deep(block: bytes, content: Any) -> bool:
    if len(block) <= DEEP or len(block.translate(None, _ALL_BUT_HEADS)) <= DEEP:
        return False
    level = [content]
    for _ in range(DEEP):
        inside = [item for item in level if isinstance(item, dict | list)]
        level = [
            item
            for parent in inside
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return any(isinstance(item, dict | list) for item in level)


def _usual_reading(content: Any, block: bytes) -> Reading | None:
    """The one reading of a block in a flat layout that nodes write; None: it has another layout."""
    if type(content) is list:
        return ("block_node", (content,)) if {*map(type, content)} == {Link} else None
    if type(content) is not dict:
        return None
    keys = tuple(content)
    if keys == ("payload", "signatures"):
        payload, signatures = content.values()
        if type(payload) is bytes and type(signatures) is list and len(signatures) == 1:
            cid, signature = cid_at_start(payload), signatures[0]
            is_usual = type(signature) is dict and tuple(signature) == ("protected", "signature")
            if cid and is_usual:
                protected = signature["protected"]
                if type(protected) is type(signature["signature"]) is bytes:
                    return "block_envelope", (cid, 1, capability_cid(protected))
    elif keys == ("id", "path", "prev", "proof"):
        stream, path, prev, proof = content.values()
        if type(stream) is type(prev) is type(proof) is Link and type(path) is str:
            return _time(block, stream, prev, proof, path)
    return None


def _exact_readings(block: bytes) -> list[Reading]:
    """The readings of a block that is no strict DAG-CBOR, or at a limit of the node's decoder."""
    readings: list[Reading] = []
    root = Reader(block, is_untagged=True)
    try:
        content = root.value()
        root.end()
    except ValueError:
        pass
    else:
        readings += _event_readings(content, block)
    readings += _exact_proof(block)
    if is_capability(block):
        readings.append(("block_capability", ()))
    node = Reader(block)
    try:
        content = node.value()
        node.end()
    except ValueError:
        return readings
    if type(content) is list and is_value(content):
        readings.append(_node(content))
    return readings


def _other_readings(content: Any, block: bytes) -> Iterator[Reading]:
    """The readings of a block of strict DAG-CBOR as what is not an event itself."""
    if type(content) is list:
        yield _node(content)
    elif type(content) is dict:
        if "txHash" in content:
            yield from _exact_proof(block)
        if "h" in content and is_capability(block):
            yield "block_capability", ()


def _node(items: list[Any]) -> Reading:
    return "block_node", ([item if type(item) is Link else None for item in items],)


def _exact_proof(block: bytes) -> Iterator[Reading]:
    proof = Reader(block)
    links, texts = ("root", "txHash"), ("chainId", "txType")
    try:
        fields = proof.fields(
            {**dict.fromkeys(links, proof.link), **dict.fromkeys(texts, proof.text)}
        )
        proof.end()
    except ValueError:
        return
    if fields.keys() >= {*links, *texts}:
        yield "block_proof", (fields["root"],)


def _time(block: bytes, stream: bytes, prev: bytes, proof: bytes, path: str) -> Reading:
    fields: DagCborTypes = {"id": CID(stream), "prev": CID(prev), "proof": CID(proof), "path": path}
    return "block_time", (stream, prev, proof, path, encode_dag_cbor(fields) == block)


def _event_readings(content: Any, block: bytes) -> Iterator[Reading]:
    """The readings of a root or payload block."""
    time = _fields(content, ("id", "prev", "proof", "path"))
    if time:
        stream, prev, proof = (_cid(link) for link in time[:3])
        path = _text(time[3])
        if stream and prev and proof and path is not None:
            yield _time(block, stream, prev, proof, path)
    envelope = _envelope(content)
    if envelope:
        yield "block_envelope", envelope
    data = _fields(content, ("id", "prev", "header", "data"), optional=("header",))
    if data:
        stream, prev = _cid(data[0]), _cid(data[1])
        if stream and prev and _is_data_header(data[2]) and is_value(data[3]):
            yield "block_data", (stream, prev)
    init = _fields(content, ("header", "data"), optional=("data",))
    if init and _is_init_header(init[0]) and is_value(init[1]):
        yield "block_init", ()


def _fields(
    content: Any,
    names: tuple[str, ...],
    *,
    optional: tuple[str, ...] = (),
    least: int | None = None,
    absent: Any = None,
) -> list[Any] | None:
    """The values of these fields of a map, or of a list that has them by position.

    Args:
        content: what may be such a map or list.
        names: of the fields.
        optional: those that a map need not have.
        least: how many a list must have; None: all.
        absent: the value of those that are not there.

    Returns:
        None if there are no such fields.
    """
    if isinstance(content, Map):
        content = _named(content, names)
    if isinstance(content, dict):
        if not content.keys() >= {*names} - {*optional}:
            return None
        return [content.get(name, absent) for name in names]
    if type(content) is list and (len(names) if least is None else least) <= len(content):
        found = [*content, *[absent] * (len(names) - len(content))]
        return found if len(found) == len(names) else None
    return None


def _named(content: Map, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The fields of a map whose keys may be numbers, which count as places in `names`."""
    if content.has_odd_keys or any(_name(key, names) in names for key in content.repeated):
        return None
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = _name(key, names)
        if name in names:
            if name in found:
                return None
            found[name] = value
    return found


def _name(key: Any, names: tuple[str, ...]) -> Any:
    return names[key] if type(key) is int and key < len(names) else key


def _envelope(content: Any) -> Row | None:
    envelope = _fields(content, ("payload", "signatures"))
    if not envelope or type(envelope[0]) is not bytes or type(envelope[1]) is not list:
        return None
    signatures = [
        _fields(one, ("header", "protected", "signature"), optional=("header", "protected"))
        for one in envelope[1]
    ]
    for one in signatures:
        if one is None or type(one[2]) is not bytes:
            return None
        if not (one[1] is None or type(one[1]) is bytes):
            return None
        if not (one[0] is None or is_map(one[0])):
            return None
    payload = cid_at_start(envelope[0])
    if payload is None:
        return None
    protected = signatures[0][1] if signatures and signatures[0] else None
    return payload, len(signatures), None if protected is None else capability_cid(protected)


_ABSENT = object()


def _is_init_header(header: Any) -> bool:
    names = ("controllers", "sep", "model", "shouldIndex", "unique", "context", "modelVersion")
    fields = _fields(header, names, optional=names, least=3, absent=_ABSENT)
    if fields is None:
        return False
    # no controllers are none, but null is an error
    controllers = [] if fields[0] is _ABSENT else fields[0]
    sep, model, should_index, unique, context, model_version = (
        None if one is _ABSENT else one for one in fields[1:]
    )
    return (
        type(model) is bytes
        and type(controllers) is list
        and all(_text(one) is not None for one in controllers)
        and (sep is None or _text(sep) is not None)
        and (should_index is None or type(should_index) is bool)
        and all(one is None or type(one) is bytes for one in (unique, context))
        and (model_version is None or _cid(model_version) is not None)
    )


def _is_data_header(header: Any) -> bool:
    if header is None:
        return True
    names = ("shouldIndex", "modelVersion")
    fields = _fields(header, names, optional=names, least=0)
    if fields is None:
        return False
    should_index, model_version = fields
    return (should_index is None or type(should_index) is bool) and (
        model_version is None or _cid(model_version) is not None
    )


def _cid(content: Any) -> bytes | None:
    """The CID of a link, or of bytes, or of a list of their numbers: the node takes all."""
    if type(content) is Link:
        return content
    if type(content) is bytes:
        return cid_at_start(content)
    if type(content) is list and {*map(type, content)} == {int}:
        return cid_at_start(bytes(content)) if 0 <= min(content) <= max(content) < 1 << 8 else None
    return None


def _text(content: Any) -> str | None:
    """A text, or that of bytes, which the node takes as well."""
    if type(content) is str:
        return content
    if type(content) is bytes:
        try:
            return content.decode()
        except ValueError:
            return None
    return None
