"""Which of many encoded values a node can read: all those of a batch in one call of the decoder."""

import os

import numpy as np
import pyarrow as pa
from libipld import decode_dag_cbor_multi

from operators.encoding.columns import Bytes, Mask, Starts, put, spans
from operators.encoding.dagcbor import TEXT
from operators.encoding.readable import (
    LARGEST_DECODED,
    MAX_DEPTH,
    VERY_NEGATIVE,
    is_beyond_node,
    value_end,
)

DECODED_TOGETHER = 256
"""Values that are decoded in one call. What they are decoded into fits into the cache and is
freed before the next are: all those of a page in one call took four times as long."""

_SEPARATOR_BYTES = 16
BEFORE_EACH = 1 + _SEPARATOR_BYTES + 1
"""Bytes of a separator with its head, and of the head of a list of one. They are written over what
stands before a value, which is longer in all layouts."""

_EIGHT = 8
"""Bytes whose marks are counted together."""

_EMPTY_LIST = 0x80
"""A list or map with something in it begins with a larger byte than this."""

_TEXT, _TEXT_OF_ONE_BYTE = 0x60, 0x78
"""The head of an empty text, and that of one whose length takes one more byte; between them, the
head holds it."""

_NO_ASCII = 0x80
"""The first byte that is not ASCII; also, texts of fewer bytes have a length of one byte."""


def are_values(
    encoded: pa.BinaryArray, *, are_texts: bool, together: int = DECODED_TOGETHER
) -> bool:
    """Whether each of these is BEFORE_EACH bytes and one value that a node can read.

    With `are_texts` it must be a text. `together` of them are decoded in one call.
    """
    data, start, end = spans(encoded)
    # each value is put into a list of one: in its block it stands inside a map, and the decoder
    # limits how deep a value may nest
    separator = os.urandom(_SEPARATOR_BYTES)
    data = data.copy()
    put(data, start, bytes([0x40 + _SEPARATOR_BYTES]) + separator + b"\x81")
    suspects = _may_be_beyond_node(data, start + BEFORE_EACH, end)
    last = -1
    while last + 1 < len(encoded):
        first = last + 1
        fits = int(np.searchsorted(end, start[first] + LARGEST_DECODED, side="right"))
        last = min(first + together, max(fits, first + 1), len(encoded)) - 1
        if fits == first:
            if not _is_large_value(data, start[first], end[first], is_text=are_texts):
                return False
            continue
        values = _decode_each(data[start[first] : end[last]].tobytes(), separator, last + 1 - first)
        if values is None:
            return False
        if are_texts and not all(type(value) is str for (value,) in values):
            return False
        for row in np.flatnonzero(suspects[first : last + 1]).tolist():
            block = data[start[first + row] + BEFORE_EACH - 1 : end[first + row]].tobytes()
            if is_beyond_node(block, values[row]):
                return False
    return True


def _is_large_value(data: Bytes, start: int, end: int, *, is_text: bool) -> bool:
    """`are_values` for one of which no objects are made."""
    listed = data[start + BEFORE_EACH - 1 : end].tobytes()
    return value_end(listed, 0) == len(listed) and (listed[1] >> 5 == TEXT or not is_text)


def are_plain_texts(encoded: pa.BinaryArray) -> bool:
    """Whether each of these is a text of less than 128 bytes, all of them ASCII."""
    data, start, end = spans(encoded)
    head, length = data[start], end - start
    short = (
        (head >= _TEXT) & (head < _TEXT_OF_ONE_BYTE) & (length == head.astype(np.int64) - _TEXT + 1)
    )
    # a head has a byte after it, if only that of another value
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


def _decode_each(separated: bytes, separator: bytes, count: int) -> list[list[object]] | None:
    """Decode values in one call, each into a list of one; None unless each is exactly one value.

    The `separator`, a byte string of random bytes, stands before each. Only where every one of them
    comes back as a value of its own did each value end where it should, whatever it holds.
    """
    try:
        items = decode_dag_cbor_multi(separated)
    except (ValueError, RecursionError):
        return None
    exact = len(items) == 2 * count and items[::2].count(separator) == count
    return items[1::2] if exact else None
