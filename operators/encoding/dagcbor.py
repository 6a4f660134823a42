"""Encoded DAG-CBOR: the heads of values, and where values begin in a block that a node can read.

Nothing is decoded: the decoder makes objects of a whole block, and returns plain bytes both for a
link and for a byte string.
"""

import re
from array import array
from collections.abc import Callable
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
"""From so many values to come on, it saves time to look for values of one byte together."""

MAX_STEPS = 256
"""How deep a node reads, in steps: two for each list or map of which it makes a value, one for each
part of a string, and one for the innermost value."""

WITHOUT_LENGTH, BREAK = 0x1F, 0xFF
"""The argument of a value that ends at a break, and the byte that is the break."""

LARGEST_IN_HEAD = 23
"""The largest argument that stands in the first byte itself; a larger one follows it."""
_WIDTHS = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
_SIZES = {**dict.fromkeys(SIMPLE, 1), **{byte: 1 + of.size for byte, of in FLOATS.items()}}
"""Bytes of a value of the last major type, by its head."""
_VALUES_INSIDE = {LIST: 1, MAP: 2}
"""Values inside a list or map, for each unit of its argument."""


def head(block: bytes, at: int) -> tuple[int, int, int]:
    """The major type and argument of the value at `at`, and the index after its head.

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


def head_as(block: bytes, at: int, major: int) -> tuple[int, int]:
    """The argument of the value at `at`, read as one of this major type, and the index after it.

    Where a node knows the type, it clears the bits of that type in the head, and does not check the
    others: so it takes some values of another type.
    """
    argument = block[at] & ~(major << 5)
    if argument <= LARGEST_IN_HEAD:
        return argument, at + 1
    width = _WIDTHS.get(argument)
    if width is None:
        raise ValueError("a value of another type, or without a length")
    (argument,) = width.unpack_from(block, at + 1)
    return argument, at + 1 + width.size


def string(block: bytes, at: int, major: int, steps: int) -> tuple[bytes, int]:
    """The content of a string, which may come in parts, and the index after it."""
    if block[at] != major << 5 | WITHOUT_LENGTH:
        length, at = head_as(block, at, major)
        if at + length > len(block):
            raise ValueError("cut off")
        return block[at : at + length], at + length
    at += 1
    parts = []
    while block[at] != BREAK:
        if not steps:
            raise ValueError("too deep")
        part, at = string(block, at, major, steps - 1)
        parts.append(part)
    return b"".join(parts), at + 1


def encode_head(major: int, argument: int) -> bytes:
    """The shortest head of a value."""
    if argument <= LARGEST_IN_HEAD:
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major << 5 | (24 + width)]) + argument.to_bytes(1 << width, "big")


def skip(block: bytes, at: int) -> int:
    """The index after the value at `at`, which a node can read."""
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
        elif major in CONTAINERS:
            unread += _VALUES_INSIDE[major] * argument
        elif major == TAG:
            _, at = string(block, at, BYTES, MAX_STEPS)
    return at


def item_offsets(block: bytes, item_end: Callable[[bytes, int], int] = skip) -> "array[int]":
    """Where in a block that is a list each of its items begins; `item_end` says where one ends."""
    _, items, at = head(block, 0)
    offsets = array("I")
    while len(offsets) < items:
        run = ONE_BYTE.match(block, at, at + items - len(offsets))
        if run is not None:
            offsets.extend(range(at, run.end()))
            at = run.end()
        else:
            offsets.append(at)
            at = item_end(block, at)
    return offsets


def link_at(block: bytes, at: int) -> bytes | None:
    """The CID in the link at `at`, with what follows it in the link; None if no link is there."""
    if block[at] >> 5 != TAG:
        return None
    _, _, at = head(block, at)
    content, _ = string(block, at, BYTES, MAX_STEPS)
    return content[1:]
