"""Decodes blocks for the verifier: from the bytes of a block to what it can be in an event.

A block does not say what it is for, so it is read as everything that it could be. Each reading is
a row of one table of `flows.verify.readings.READINGS`.

A block has a reading where the node's decoder can read it so. Blocks of strict DAG-CBOR, as nodes
write them, are decoded by cbrrr, all others by `flows.verify.loose`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import cast

import pyarrow as pa
from cbrrr import decode_dag_cbor

from flows.verify.capability import is_capability
from flows.verify.cids import Link, cid_at_start, read_link
from flows.verify.event_fields import event_readings, time_reading
from flows.verify.loose import Cbor, LooseReader, links_of_list, untagged_content
from flows.verify.protected import capability_cid
from flows.verify.readings import READINGS, BlockReading, Row
from flows.verify.walk import NOT_WALKED

DEEP = 127
"""So many lists and maps inside each other are never too deep for the node. Whether more are
depends on what the block is read as."""

LARGEST_DECODED = 128 * 1024
"""The most bytes of a block that is decoded to objects, which take up to seventy times as much."""

LARGEST_BLOCK = 4 * 1024 * 1024 - 36
"""The most bytes of a block, without its CID, that the node reads (FORMAT.md, What a node needs to
serve an event)."""

LARGEST_ENVELOPE = LARGEST_BLOCK - 1
"""The same for an envelope, whose codec takes one byte more."""

_TOO_LARGE: BlockReading = ("block_other", ("longer than 4 MiB with its CID",))
_SHAPELESS: BlockReading = ("block_other", ("no block of an event has this shape",))

_ALL_BUT_HEADS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't be the head of a list or map that holds something."""

_VERY_NEGATIVE = re.compile(rb"\x3b[\x80-\xff]")
"""How an integer below -2^63 begins, which the node takes in some blocks only. These bytes may be
part of another value too."""


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


def read_block(block: bytes) -> list[BlockReading]:
    """Everything that a block can be: names of `READINGS`, each with the cells after `multihash`.

    There is always one.
    """
    if len(block) > LARGEST_BLOCK:
        return [_TOO_LARGE]
    if len(block) > LARGEST_DECODED:
        readings = _exact_readings(block) or [_SHAPELESS]
        if len(block) <= LARGEST_ENVELOPE:
            return readings
        return [one for one in readings if one[0] != "block_envelope"] or [_TOO_LARGE]
    try:
        # links become what `read_link` returns
        content = cast("Cbor", decode_dag_cbor(block, cid_ctor=read_link))
    except ValueError as error:
        return _exact_readings(block) or [("block_other", (f"not DAG-CBOR: {error}",))]
    usual = _usual_reading(content, block)
    if usual is not None:
        return [usual]
    if _may_be_deep(block) or _VERY_NEGATIVE.search(block):
        readings = _exact_readings(block)
    else:
        readings = [*event_readings(content, block), *_other_readings(content, block)]
    return readings or [_SHAPELESS]


def _may_be_deep(block: bytes) -> bool:
    return len(block) > DEEP and len(block.translate(None, _ALL_BUT_HEADS)) > DEEP


def _usual_reading(content: Cbor, block: bytes) -> BlockReading | None:
    """The only reading of a block in a layout that nodes write; None: it has another layout."""
    if type(content) is list:
        return _node(content) if {*map(type, content)} == {Link} else None
    if type(content) is not dict:
        return None
    keys = tuple(content)
    if keys == ("payload", "signatures"):
        payload, signatures = content.values()
        if type(payload) is bytes and type(signatures) is list and len(signatures) == 1:
            cid, signature = cid_at_start(payload), signatures[0]
            if cid and type(signature) is dict and (*signature,) == ("protected", "signature"):
                protected, signed = signature.values()
                if type(protected) is bytes and type(signed) is bytes:
                    return "block_envelope", (cid, 1, capability_cid(protected))
    elif keys == ("id", "path", "prev", "proof"):
        stream, path, prev, proof = content.values()
        if type(stream) is type(prev) is type(proof) is Link and type(path) is str:
            return time_reading(block, stream, prev, proof, path)
    return None


def _exact_readings(block: bytes) -> list[BlockReading]:
    """The readings of a block that is large, no strict DAG-CBOR, or near a limit of the decoder."""
    readings: list[BlockReading] = []
    try:
        content = untagged_content(block)
    except NOT_WALKED:
        pass
    else:
        readings += event_readings(content, block)
    readings += _exact_proof(block)
    if is_capability(block):
        readings.append(("block_capability", ()))
    with suppress(*NOT_WALKED):
        readings.append(("block_node", links_of_list(block)))
    return readings


def _other_readings(content: Cbor, block: bytes) -> Iterator[BlockReading]:
    """The readings of a block of strict DAG-CBOR as a node, a proof or a capability."""
    if type(content) is list:
        yield _node(content)
    elif type(content) is dict:
        if "txHash" in content:
            yield from _exact_proof(block)
        if "h" in content and is_capability(block):
            yield "block_capability", ()


def _node(items: list[Cbor]) -> BlockReading:
    links = [(place, item) for place, item in enumerate(items) if isinstance(item, Link)]
    return "block_node", ([place for place, _ in links], [link for _, link in links])


def _exact_proof(block: bytes) -> Iterator[BlockReading]:
    proof = LooseReader(block)
    links, texts = ("root", "txHash"), ("chainId", "txType")
    readers: dict[str, Callable[[], str | Link]] = {
        **dict.fromkeys(links, proof.link),
        **dict.fromkeys(texts, proof.text),
    }
    try:
        fields = proof.fields(readers)
        proof.end()
    except NOT_WALKED:
        return
    root = fields.get("root")
    if fields.keys() >= {*links, *texts} and isinstance(root, bytes):
        yield "block_proof", (root,)
