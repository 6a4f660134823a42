"""Shared blocks in the forms that nodes write, read into columns of numbers, many at once.

Three kinds of block are shared by events: the witness nodes of a tree, the proof that names its
root, and the capability that lets a key sign. What is read here is what reading each block by
itself gives (`operators.check.shared_blocks`); a block in any other form is left out.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor, encode_dag_cbor
from numpy.typing import NDArray

from operators.check.shared_blocks import (
    GRANT,
    HEADER_TYPES,
    MAYBE_GRANT,
    SIGNATURE_TYPES,
    read_capability,
)
from operators.encoding.columns import DIGEST, Bytes, Starts, digests, holds, short, spans
from operators.encoding.layouts import CBOR_CID, JOSE_CID, link_head

Keys = NDArray[np.uint64]
"""Digests as `short` makes them, two words each: the last axis has length 2."""

KEPT_ITEMS = 2
"""Items of a node that are kept. A root has a third, which leads to no event."""

NO_LINK, CBOR, JOSE = range(3)
"""The form of an item: null, or a link to a dag-cbor or dag-jose block by its SHA-256."""

NODE, PROOF, CAPABILITY = range(3)
"""The kinds of shared block. A proof has one item, its root; a capability has none."""

USUAL = np.dtype([("key", "u8", (2,)), ("items", "u8", (KEPT_ITEMS, 2)), ("form", "u1")])
"""A shared block. `form` holds two bits for the form of each item, and two above for the kind."""

ITEM_BITS, KIND_SHIFT = 2, 2 * KEPT_ITEMS

SHA2_256 = b"\x12\x20"
"""How a multihash of that function begins."""

_LIST, _NULL = 0x80, 0xF6
_HEADS = {CBOR: link_head(CBOR_CID), JOSE: link_head(JOSE_CID)}
_MOST_ITEMS = 3

_PROOF = b"\xa4\x64root"
_TRANSACTION = b"\x66txHash\xd8\x2a\x58\x26\x00\x01\x93\x01\x1b\x20"
"""A link to an Ethereum transaction by its keccak-256, up to the digest."""
_TYPE, _CHAIN = b"\x66txType", b"\x67chainId"
_EMPTY_TEXT, _LONG_TEXT, _NO_ASCII = 0x60, 0x78, 0x80
"""The head of an empty text, the first head of a text longer than 23 bytes, the first byte that
is not ASCII."""
_SHORTEST_PROOF = len(_PROOF) + 9 + DIGEST + len(_TRANSACTION) + DIGEST + 17

_CAPABILITY = b"\xa3\x61h"
"""How a map with the keys h, p and s begins."""

_GRANT = frozenset(GRANT)
_GRANT_AT_MOST = _GRANT.union(MAYBE_GRANT)
"""The texts of a capability's payload; those in _GRANT must be there."""

LARGEST_USUAL = 16_384
"""The most bytes of a block that is read here: all blocks are copied."""

_BEYOND = 256
"""Zeros that are appended to the data, so that whatever is read at a computed place lies within it.
"""


def read_usual(
    multihashes: pa.Array, blocks: pa.Array
) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """The blocks of the usual forms as records of type USUAL, and which of n blocks those are."""
    fits = np.asarray(pc.binary_length(blocks)) <= LARGEST_USUAL
    if not fits.all():
        some = pa.array(fits)
        records, usual = read_usual(multihashes.filter(some), blocks.filter(some))
        fits[fits] = usual
        return records, fits
    data, start, end = spans(multihashes)
    by_sha = end - start == len(SHA2_256) + DIGEST
    by_sha[by_sha] = holds(data, start[by_sha], SHA2_256)
    records = np.zeros(len(blocks), dtype=USUAL)
    records["key"][by_sha] = keys(data, start[by_sha] + len(SHA2_256))
    content, first, last = spans(blocks)
    content = np.concatenate([content, np.zeros(_BEYOND, dtype=np.uint8)])
    usual = _read_nodes(content, first, last, records)
    proofs = _read_proofs(content, first, last, records)
    usual[proofs] = True
    capabilities = _read_capabilities(content, first, last, blocks, records)
    usual[capabilities] = True
    usual &= by_sha
    return records[usual], usual


def keys(data: Bytes, starts: Starts) -> Keys:
    """The keys of the digests that begin at n places, of shape (n, 2)."""
    return short(digests(data, starts))


def _read_nodes(
    data: Bytes, start: Starts, end: Starts, records: NDArray[np.void]
) -> NDArray[np.bool_]:
    """Read the lists of up to three items, each null or a link, into `records`; which those are."""
    count = data[start].astype(np.int64) - _LIST
    alike = (end > start) & (count >= 0) & (count <= _MOST_ITEMS)
    at = start + 1
    for item in range(_MOST_ITEMS):
        rows = np.flatnonzero(alike & (count > item) & (at < end))
        alike[np.flatnonzero(alike & (count > item) & (at >= end))] = False
        # an item that is cut off makes the end differ
        size = (data[at[rows]] == _NULL).astype(np.int64)
        for of_link, head in _HEADS.items():
            links = np.flatnonzero(holds(data, at[rows], head))
            if item < KEPT_ITEMS:
                its = rows[links]
                records["items"][its, item] = keys(data, at[its] + len(head))
                records["form"][its] |= of_link << ITEM_BITS * item
            size[links] = len(head) + DIGEST
        alike[rows[size == 0]] = False
        at[rows] += size
    alike &= at == end
    records["form"][~alike] = 0
    return alike


def _read_proofs(
    data: Bytes, start: Starts, end: Starts, records: NDArray[np.void]
) -> NDArray[np.int64]:
    """Read the proofs of Ethereum transactions into `records`; their rows."""
    found = []
    begun = np.flatnonzero(end - start >= _SHORTEST_PROOF)
    begun = begun[holds(data, start[begun], _PROOF)]
    for of_link, head in _HEADS.items():
        rows = begun[holds(data, start[begun] + len(_PROOF), head)]
        root = start[rows] + len(_PROOF) + len(head)
        at = root + DIGEST
        alike = holds(data, at, _TRANSACTION)
        at = at + len(_TRANSACTION) + DIGEST
        alike &= holds(data, at, _TYPE)
        at, is_text = _after_text(data, at + len(_TYPE))
        alike &= is_text
        alike &= holds(data, at, _CHAIN)
        at, is_text = _after_text(data, at + len(_CHAIN))
        alike &= is_text & (at == end[rows])
        rows, root = rows[alike], root[alike]
        records["items"][rows, 0] = keys(data, root)
        records["form"][rows] = of_link | PROOF << KIND_SHIFT
        found.append(rows)
    return np.concatenate(found)


def _after_text(data: Bytes, at: Starts) -> tuple[Starts, NDArray[np.bool_]]:
    """Where the short ASCII texts that begin at n places end, and whether each is one."""
    head = data[at].astype(np.int64)
    is_text = (head >= _EMPTY_TEXT) & (head < _LONG_TEXT)
    length = np.where(is_text, head - _EMPTY_TEXT, 0)
    for byte in range(length.max(initial=0)):
        is_text &= (byte >= length) | (data[at + 1 + byte] < _NO_ASCII)
    return at + 1 + length, is_text


def _read_capabilities(
    data: Bytes, start: Starts, end: Starts, blocks: pa.Array, records: NDArray[np.void]
) -> NDArray[np.int64]:
    """Note the capabilities that a node can read in `records`; their rows."""
    rows = np.flatnonzero(end - start >= len(_CAPABILITY))
    rows = rows[holds(data, start[rows], _CAPABILITY)]
    found = [
        row
        for row, block in zip(rows.tolist(), blocks.take(pa.array(rows)).to_pylist(), strict=True)
        if _is_plain_capability(block) or read_capability(block) is True
    ]
    records["form"][found] = CAPABILITY << KIND_SHIFT
    return np.array(found, dtype=np.int64)


def _is_plain_capability(block: bytes) -> bool:
    """Whether a block is a capability of nothing but texts, and strict DAG-CBOR.

    That takes a thirtieth of the time of `read_capability`, which decides about all others.
    """
    try:
        capability = decode_dag_cbor(block)
    except (ValueError, RecursionError):
        return False
    match capability:
        case {
            "h": {"t": header, **more},
            "p": dict(grant),
            "s": {"s": signature, "t": signed_as, **others},
        }:
            texts = dict(grant)
            resources = texts.pop("resources", [])
            return (
                not more
                and not others
                and type(resources) is list
                and all(
                    type(text) is str
                    for text in (header, signature, signed_as, *texts.values(), *resources)
                )
                and header in HEADER_TYPES
                and signed_as in SIGNATURE_TYPES
                and _GRANT <= texts.keys() <= _GRANT_AT_MOST
                and encode_dag_cbor(capability) == block
            )
    return False
