"""Where the links are in a DAG-CBOR block, and whether a node can read as deep.

The decoder returns plain bytes both for a link and for a byte string, so a `prev` that is no link
looks like one: only the encoded bytes tell. Everything here takes a block that the decoder has
already accepted, so lengths can be trusted.
"""

import re
from array import array
from struct import Struct
from typing import Any

_LEAST_INTEGER = -(1 << 63)
_TAGGED = 6
_LINK = re.compile(rb"\xd8\x2a|\xd9\x00\x2a|\xda\x00\x00\x00\x2a|\xdb\x00{7}\x2a")
"""How a link begins: the head of tag 42, however long; in other bytes it means nothing."""
_UNSIGNED = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
_ITEMS = {4: 1, 5: 2, 6: 0}
"""Items inside a head of this major type, for each unit of its argument; a tag holds one,
whatever its number."""

MAX_DEPTH = 127
"""Lists and maps inside each other that a node can read where it does not know the types before:
its decoder takes 256 steps, two for each of them and one for what they hold."""

MAX_TYPED_DEPTH = 255
"""Likewise where it knows the types, and in fields that it skips: one step for each."""

VERY_NEGATIVE = (0x3B, 0x80)
"""How an integer below -2^63 begins, which a node can't read: this byte, and one as large as
that. In other bytes it means nothing."""

_MAY_BE_VERY_NEGATIVE = re.compile(b"\x3b[\x80-\xff]")

_ALL_BUT_CONTAINERS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't begin a list or map with something in it."""


def is_beyond_node(block: bytes, content: Any) -> bool:
    """Whether a node refuses a block that this decoder took, as one that it reads untagged.

    That is one nested more than MAX_DEPTH deep, or with an integer below -2^63.
    """
    may_be_deep = may_be_deeper(block, MAX_DEPTH)
    if not may_be_deep and _MAY_BE_VERY_NEGATIVE.search(block) is None:
        return False
    return is_beyond(content, MAX_DEPTH, _LEAST_INTEGER)


def may_be_deeper(block: bytes, most: int) -> bool:
    """False: the lists and maps of a block are certainly not more than so many deep."""
    return len(block) > most and len(block.translate(None, _ALL_BUT_CONTAINERS)) > most


def is_beyond(content: Any, most: int, least: int | None = None) -> bool:
    """Whether lists and maps are more than `most` deep, or an integer is below `least`."""
    level, depth = [content], 0
    while level:
        if least is not None and any(type(item) is int and item < least for item in level):
            return True
        filled = [item for item in level if type(item) in {list, dict} and item]
        level = [
            inner
            for item in filled
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += bool(filled)
        if depth > most:
            return True
    return False


def is_link(block: bytes, *path: str | int) -> bool:
    """Whether the value behind these keys and indices is a link; it must be there."""
    if _LINK.search(block) is None:
        return False
    at = 0
    for step in path:
        at = _value_at(block, at, step)
    return block[at] >> 5 == _TAGGED


def item_offsets(block: bytes) -> "array[int]":
    """Where in a block that is a list each of its items begins."""
    _, items, at = _head(block, 0)
    offsets = array("Q")
    for _ in range(items):
        offsets.append(at)
        at = _skip(block, at)
    return offsets


def link_at(block: bytes, at: int) -> bytes | None:
    """The CID in the link at `at`, None if no link is there."""
    if block[at] >> 5 != _TAGGED:
        return None
    _, _, at = _head(block, at)
    _, length, at = _head(block, at)
    return block[at + 1 : at + length]


def _value_at(block: bytes, at: int, step: str | int) -> int:
    """Where the value of a key of a map, or of an index of a list, begins."""
    _, entries, at = _head(block, at)
    for index in range(entries):
        if isinstance(step, str):
            _, length, at = _head(block, at)
            found = block[at : at + length] == step.encode()
            at += length
        else:
            found = index == step
        if found:
            return at
        at = _skip(block, at)
    raise LookupError(step)


def encode_head(major: int, argument: int) -> bytes:
    """The shortest head of an item."""
    if argument < 24:  # noqa: PLR2004 # from here on the argument follows
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major << 5 | (24 + width)]) + argument.to_bytes(1 << width, "big")


def _head(block: bytes, at: int) -> tuple[int, int, int]:
    """The major type and argument of the item at `at`, and the index behind its head."""
    major, argument = divmod(block[at], 32)
    at += 1
    if argument in _UNSIGNED:
        width = _UNSIGNED[argument]
        (argument,) = width.unpack_from(block, at)
        at += width.size
    return major, argument, at


def _skip(block: bytes, at: int) -> int:
    """The index behind the item at `at`, without recursion: hostile blocks nest deeply."""
    unread = 1
    while unread:
        major, argument, at = _head(block, at)
        if major in {2, 3}:
            at += argument
        unread += argument * _ITEMS.get(major, 0) + (major == _TAGGED) - 1
    return at
