"""Encoded DAG-CBOR: the heads of values, and where values begin in a block that a node can read.

Nothing is decoded: the decoder makes objects of a whole block, and returns plain bytes both for a
link and for a byte string.
"""

import re
from array import array
from struct import Struct

UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, OTHER = range(8)
"""The major type of a value, in the first three bits of its head."""

STRINGS, CONTAINERS = frozenset((BYTES, TEXT)), frozenset((LIST, MAP))

FALSE, TRUE, NULL = 0xF4, 0xF5, 0xF6
SIMPLE = frozenset((FALSE, TRUE, NULL))
FLOATS = {0xFA: Struct(">f"), 0xFB: Struct(">d")}
"""The values of the last major type, by their heads."""

LINK_TAG = 42

ONE_BYTE = re.compile(rb"[\x00-\x17\x20-\x37\x40\x60\x80\xa0\xf4-\xf6]+")
"""Values of one byte each."""

MANY = 16
"""Values to come from which on looking for many of one byte pays."""

LARGEST_IN_HEAD = 23
"""The largest argument that stands in the first byte itself; a larger one follows it."""
_WIDTHS = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
_SIZES = {**dict.fromkeys(SIMPLE, 1), **{byte: 1 + of.size for byte, of in FLOATS.items()}}
"""Bytes of a value of the last major type, by its head."""
_VALUES_INSIDE = {LIST: 1, MAP: 2}
"""Values inside a list or map, for each unit of its argument."""


def head(block: bytes, at: int) -> tuple[int, int, int]:
    """The major type and argument of the value at `at`, and the index behind its head.

    Raises:
        ValueError: it has no argument.
        IndexError, struct.error: the block ends before.
    """
    major, argument = divmod(block[at], 32)
    at += 1
    if argument > LARGEST_IN_HEAD:
        width = _WIDTHS.get(argument)
        if width is None:
            raise ValueError("a value without a length")
        (argument,) = width.unpack_from(block, at)
        at += width.size
    return major, argument, at


def encode_head(major: int, argument: int) -> bytes:
    """The shortest head of a value."""
    if argument <= LARGEST_IN_HEAD:
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major << 5 | (24 + width)]) + argument.to_bytes(1 << width, "big")


def skip(block: bytes, at: int) -> int:
    """The index behind the value at `at`, which a node can read."""
    unread = 1
    while unread:
        if unread >= MANY:
            run = ONE_BYTE.match(block, at, at + unread)
            if run is not None:
                unread, at = unread - len(run[0]), run.end()
                continue
        major, argument = block[at] >> 5, block[at] & 31
        unread -= 1
        if major == OTHER:
            at += _SIZES[block[at]]
            continue
        at += 1
        if argument > LARGEST_IN_HEAD:
            major, argument, at = head(block, at - 1)
        if major in STRINGS:
            at += argument
        elif major >= LIST:
            unread += _VALUES_INSIDE[major] * argument if major != TAG else 1
    return at


def item_offsets(block: bytes) -> "array[int]":
    """Where in a block that is a list each of its items begins."""
    _, items, at = head(block, 0)
    offsets = array("I")
    for _ in range(items):
        offsets.append(at)
        at = skip(block, at)
    return offsets


def link_at(block: bytes, at: int) -> bytes | None:
    """The CID in the link at `at`, and what stands behind it; None if no link is there."""
    if block[at] >> 5 != TAG:
        return None
    _, _, at = head(block, at)
    _, length, at = head(block, at)
    return block[at + 1 : at + length]
