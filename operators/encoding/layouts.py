"""The fast half of decode: events in the layout that nodes write, a whole batch at a time.

Canonical DAG-CBOR sorts the keys of a map, so in an event all bytes but those of one value stand at
fixed distances from the ends of its block, and can be compared for all rows at once. That one value
is read by the decoder, in one call for the batch. The answer is that of
`operators.decode.read_event` or none at all: a row that is not exactly in the layout is left to it
(a property test holds this).
"""

import os
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor_multi
from numpy.typing import NDArray

from operators.encoding.columns import DIGEST, Bytes, Starts, cut, gather, holds, put, spans
from operators.encoding.dagcbor import (
    LARGEST_DECODED,
    MAX_DEPTH,
    TEXT,
    VERY_NEGATIVE,
    is_beyond_node,
    value_end,
)
from operators.schemas import DATA, TIME

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

CBOR_CID, JOSE_CID = b"\x01\x71\x12\x20", b"\x01\x85\x01\x12\x20"
"""How the CIDs of nearly all events begin: a dag-cbor or a dag-jose block, by its sha2-256."""


@cache
def link_head(cid: bytes) -> bytes:
    """A link up to the digest: tag 42, the head of a byte string, a zero, the CID's beginning."""
    return b"\xd8\x2a\x58" + bytes([len(cid) + DIGEST + 1, 0]) + cid


@dataclass(frozen=True)
class Layout:
    """A map of `id`, one value in the middle, `prev`, and what follows, in this order."""

    entries: int
    middle: bytes
    """The key of the value in the middle, encoded."""
    middle_is_text: bool
    """Whether that value must be a text, or may be anything."""
    kind: int
    tails: tuple[bytes, ...] = (b"",)
    """What can stand at the end of the block, encoded, or before the digest of a proof."""
    has_proof: bool = False
    """Whether a digest is the end."""


DATA_LAYOUT = Layout(3, b"\x64data", middle_is_text=False, kind=DATA)
DATA_WITH_HEADER = Layout(
    4,
    b"\x64data",
    middle_is_text=False,
    kind=DATA,
    tails=tuple(
        b"\x66header\xa1\x6bshouldIndex" + should_index for should_index in (b"\xf4", b"\xf5")
    ),
)
TIME_LAYOUT = Layout(
    4,
    b"\x64path",
    middle_is_text=True,
    kind=TIME,
    tails=(b"\x65proof" + link_head(CBOR_CID),),
    has_proof=True,
)

PAYLOAD_AT = 13
"""Where in a plain envelope the multihash of its payload begins."""
_ENVELOPE_HEAD = b"\xa2\x67payload\x58\x24" + CBOR_CID
_SIGNATURES = b"\x6asignatures\x81\xa2\x69protected"
_SIGNATURES_AT = len(_ENVELOPE_HEAD) + DIGEST
PROTECTED_AT = _SIGNATURES_AT + len(_SIGNATURES)
_SIGNATURE = b"\x69signature\x58\x40"
SIGNATURE_FROM_END = len(_SIGNATURE) + 64

DEEPEST = 32
"""A tree of so many levels anchors all events there are."""

_EIGHT = 8
"""Bytes that are counted together."""

_FENCE = 16
_BEFORE_EACH = 1 + _FENCE + 1
"""Bytes of a fence and the head of a list of one; in all layouts more stand before a value."""

_FEW = 16
"""Events among which one can't be read alike: each is read alone."""

_TOGETHER = 256
"""Values that are decoded in one call. What they are decoded into fits into the cache and is
freed before the next are: all those of a page in one call took four times as long."""

_GROUP_BYTES = 4 * 1024 * 1024
"""Of blocks that are read alike: they are laid out anew three times."""

_EMPTY_LIST = 0x80
"""Larger bytes alone begin a list or map with something in it."""

_TEXT, _TEXT_OF_ONE_BYTE = 0x60, 0x78
"""The head of an empty text, and that of one whose length takes one more byte; between them, the
head holds it."""

_LONG_TEXT = 24
"""From this length on a text takes a head of two bytes."""

_NO_ASCII = 0x80
"""From here on a byte is none, and the length of a text takes one byte below."""


class Places(NamedTuple):
    """Where some events of a batch stand in their streams: columns of one length."""

    rows: Rows
    """Their indices in the batch."""
    stream: pa.Array
    prev: pa.Array
    kind: NDArray[np.int8]
    text: pa.Array
    """The encoded text in the middle of their layout; null where it may be anything."""


def plain_envelopes(roots: pa.BinaryArray) -> Mask:
    """Which root blocks are envelopes of one signature, whole and in the layout nodes write."""
    data, start, end = spans(roots)
    rows = np.flatnonzero(end - start >= PROTECTED_AT + 3 + SIGNATURE_FROM_END)
    rows = rows[holds(data, start[rows], _ENVELOPE_HEAD)]
    rows = rows[holds(data, start[rows] + _SIGNATURES_AT, _SIGNATURES)]
    rows = rows[holds(data, end[rows] - SIGNATURE_FROM_END, _SIGNATURE)]
    # what is left between the fixed parts must be one byte string: 0x58 and its length in a byte,
    # or 0x59 and two bytes
    heads = (
        gather(data, start[rows] + PROTECTED_AT, 3).view(np.uint8).reshape(-1, 3).astype(np.int64)
    )
    one_byte = heads[:, 0] == 0x58  # noqa: PLR2004 # as the comment says
    protected = np.where(one_byte, 2 + heads[:, 1], 3 + heads[:, 1] * 256 + heads[:, 2])
    whole = PROTECTED_AT + protected + SIGNATURE_FROM_END == (end - start)[rows]
    found = np.zeros(len(roots), dtype=np.bool_)
    found[rows[whole & (one_byte | (heads[:, 0] == 0x59))]] = True  # noqa: PLR2004 # likewise
    return found


def read_alike(column: pa.BinaryArray, rows: Mask, layout: Layout) -> list[Places]:
    """Read those of the masked rows whose blocks are in `layout`.

    There is a group for each way in which the CIDs of stream and prev can begin.
    """
    found: list[Places] = []
    masked = np.flatnonzero(rows)
    data, start, end = spans(column)
    length = end - start
    for of_stream in (CBOR_CID, JOSE_CID):
        begin = bytes([0xA0 + layout.entries]) + b"\x62id" + link_head(of_stream)
        value_from = len(begin) + DIGEST + len(layout.middle)
        begun = masked[length[masked] > value_from]
        begun = begun[holds(data, start[begun], begin)]
        begun = begun[holds(data, start[begun] + len(begin) + DIGEST, layout.middle)]
        for of_prev, tail in product((CBOR_CID, JOSE_CID), layout.tails):
            prev = b"\x64prev" + link_head(of_prev)
            behind_prev = len(tail) + (DIGEST if layout.has_proof else 0)
            behind_value = len(prev) + DIGEST + behind_prev
            # the fixed parts must not overlap, and a value has at least one byte
            alike = begun[length[begun] > value_from + behind_value]
            alike = alike[holds(data, end[alike] - behind_value, prev)]
            alike = alike[holds(data, end[alike] - behind_prev, tail)] if tail else alike
            for some, texts in _with_values(column, alike, layout, value_from, behind_value):
                streams = cut(
                    data, start[some] + len(begin) - len(of_stream), len(of_stream) + DIGEST
                )
                prevs = cut(
                    data, end[some] - behind_prev - DIGEST - len(of_prev), len(of_prev) + DIGEST
                )
                found.append(
                    Places(
                        some, streams, prevs, np.full(len(some), layout.kind, dtype=np.int8), texts
                    )
                )
    return found


def _with_values(
    column: pa.BinaryArray, rows: Rows, layout: Layout, value_from: int, behind_value: int
) -> list[tuple[Rows, pa.Array]]:
    """Those of the rows whose values are readable, in groups, with their texts."""
    if not len(rows):
        return []
    _, start, end = spans(column)
    is_small = len(rows) == 1 or int((end - start)[rows].sum()) <= _GROUP_BYTES
    texts = _texts_of(column, rows, layout, value_from, behind_value) if is_small else None
    if texts is not None:
        return [(rows, texts)]
    # one of them is none, or they are large: the others are read alike, by halves
    halves = np.array_split(rows, 2) if len(rows) > _FEW or not is_small else []
    return [
        group
        for half in halves
        for group in _with_values(column, half, layout, value_from, behind_value)
    ]


def _texts_of(
    column: pa.BinaryArray, rows: Rows, layout: Layout, value_from: int, behind_value: int
) -> pa.Array | None:
    """The texts in the middle of some blocks, None if the value of any is not readable."""
    blocks = column.take(pa.array(rows))
    texts = (
        pc.binary_slice(blocks, value_from, -behind_value)
        if layout.middle_is_text
        else pa.nulls(len(rows), pa.binary())
    )
    if layout.middle_is_text and _are_plain_texts(texts):
        return texts
    values = pc.binary_slice(blocks, value_from - _BEFORE_EACH, -behind_value)
    return texts if _are_values(values, are_texts=layout.middle_is_text) else None


def read_path(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The indices in n encoded paths, of shape (n, deepest), and how many there are in each.

    That is -1 where a path is anything but single digits with "/" between them, or has more than
    DEEPEST.
    """
    data, start, end = spans(texts)
    head = data[start]
    start = start + np.where(head < _TEXT_OF_ONE_BYTE, 1, 2)
    length = end - start
    # a node writes a long head only where it must
    usual = ((head < _TEXT_OF_ONE_BYTE) | (length >= _LONG_TEXT)) & (
        (head <= _TEXT_OF_ONE_BYTE) & ((length == 0) | (length % 2 == 1)) & (length < 2 * DEEPEST)
    )
    depth = np.where(usual, (length + 1) // 2, 0)
    steps = np.arange(depth.max(initial=0))
    at = np.minimum(start[:, None] + 2 * steps, len(data) - 1)
    path = data[at] - np.uint8(ord("0"))
    between = (data[np.minimum(at + 1, len(data) - 1)] == ord("/")) | (steps == depth[:, None] - 1)
    is_step = (path < 10) & between  # noqa: PLR2004 # ten digits
    reads = (is_step | (steps >= depth[:, None])).all(axis=1)
    return path, np.where(usual & reads, depth, -1)


def _are_values(encoded: pa.BinaryArray, *, are_texts: bool) -> bool:
    """Whether each of these is _BEFORE_EACH bytes and one value that a node can read.

    With `are_texts` it must be a text.
    """
    data, start, end = spans(encoded)
    # each value is put into a list of one: in its block it stands inside a map, and the decoder
    # limits how deep a value may nest
    fence = os.urandom(_FENCE)
    data = data.copy()
    put(data, start, bytes([0x40 + _FENCE]) + fence + b"\x81")
    suspects = _may_be_beyond_node(data, start + _BEFORE_EACH, end)
    last = -1
    while last + 1 < len(encoded):
        first = last + 1
        fits = int(np.searchsorted(end, start[first] + LARGEST_DECODED, side="right"))
        last = min(first + _TOGETHER, max(fits, first + 1), len(encoded)) - 1
        if fits == first:
            if not _is_large_value(data, start[first], end[first], is_text=are_texts):
                return False
            continue
        values = _decode_each(data[start[first] : end[last]].tobytes(), fence, last + 1 - first)
        if values is None:
            return False
        if are_texts and not all(type(value) is str for (value,) in values):
            return False
        for row in np.flatnonzero(suspects[first : last + 1]).tolist():
            block = data[start[first + row] + _BEFORE_EACH - 1 : end[first + row]].tobytes()
            if is_beyond_node(block, values[row]):
                return False
    return True


def _is_large_value(data: Bytes, start: int, end: int, *, is_text: bool) -> bool:
    """`_are_values` for one of which no objects are made."""
    listed = data[start + _BEFORE_EACH - 1 : end].tobytes()
    return value_end(listed, 0) == len(listed) and (listed[1] >> 5 == TEXT or not is_text)


def _are_plain_texts(encoded: pa.BinaryArray) -> bool:
    """Whether each of these is a text of less than 128 bytes, all of them ASCII."""
    data, start, end = spans(encoded)
    head, length = data[start], end - start
    short = (
        (head >= _TEXT) & (head < _TEXT_OF_ONE_BYTE) & (length == head.astype(np.int64) - _TEXT + 1)
    )
    # a head has a byte behind it, if only that of another value
    longer = (head == _TEXT_OF_ONE_BYTE) & (
        length == data[np.minimum(start + 1, len(data) - 1)].astype(np.int64) + 2
    )
    return bool((short | longer).all() and data[start[0] : end[-1]].max() < _NO_ASCII)


def _may_be_beyond_node(data: Bytes, start: Starts, end: Starts) -> Mask:
    """Which of these values a node might refuse though this decoder takes them, and few others."""
    suspects = np.zeros(len(start), dtype=np.bool_)
    if (end - start).max() >= MAX_DEPTH:
        # of the bytes from here on few begin a list or map, but those that do are among them; they
        # are counted by eights
        counts = np.bitwise_count(np.packbits(data > _EMPTY_LIST))
        suspects |= np.add.reduceat(counts, start // _EIGHT, dtype=np.int64) > MAX_DEPTH - _EIGHT
    heads = np.flatnonzero(data[:-1] == VERY_NEGATIVE[0])
    negative = heads[data[heads + 1] >= VERY_NEGATIVE[1]]
    row = np.searchsorted(start, negative, side="right") - 1
    suspects[row[negative < end[row]]] = True
    return suspects


def _decode_each(fenced: bytes, fence: bytes, count: int) -> list[list[object]] | None:
    """Decode values in one call, each into a list of one; None unless each is exactly one value.

    The `fence`, a byte string that nobody can have foreseen, stands before each. Only where every
    one of these comes back as a value of its own did each value end where it should, whatever it
    holds.
    """
    try:
        items = decode_dag_cbor_multi(fenced)
    except (ValueError, RecursionError):
        return None
    exact = len(items) == 2 * count and items[::2].count(fence) == count
    return items[1::2] if exact else None
