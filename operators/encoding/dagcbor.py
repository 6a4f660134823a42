"""Where the links are in a DAG-CBOR map.

The decoder returns plain bytes both for a link and for a byte string, so a `prev` that is no link
looks like one: only the encoded bytes tell. Everything here takes a block that the decoder has
already accepted, so lengths can be trusted.
"""

import re
from struct import Struct
from typing import Any

from libipld import decode_dag_cbor

_LEAST_INTEGER = -(1 << 63)
_TAGGED = 6
_TINY_STRING = 24
"""From this length on a head takes a second byte."""
_SHORT_STRING = 255
"""A link to a CID from this length on has a head of three bytes."""
_UNSIGNED = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
_ITEMS = {4: 1, 5: 2, 6: 0}
"""Items inside a head of this major type, for each unit of its argument; a tag holds one,
whatever its number."""

MAX_DEPTH = 127
"""Lists and maps inside each other that a node can read: its decoder takes 256 steps, two for
each of them and one for what they hold."""

VERY_NEGATIVE = (0x3B, 0x80)
"""How an integer below -2^63 begins, which a node can't read: this byte, and one as large as
that. In other bytes it means nothing."""

_MAY_BE_VERY_NEGATIVE = re.compile(b"\x3b[\x80-\xff]")

_ALL_BUT_CONTAINERS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't begin a list or map with something in it."""


def is_beyond_node(block: bytes, content: Any) -> bool:
    """Whether a node's decoder refuses a block that this one took: nested more than MAX_DEPTH deep, or with an integer below -2^63."""
    may_be_deep = (
        len(block) > MAX_DEPTH and len(block.translate(None, _ALL_BUT_CONTAINERS)) > MAX_DEPTH
    )
    if not may_be_deep and _MAY_BE_VERY_NEGATIVE.search(block) is None:
        return False
    level, depth = [content], 0
    while level:
        if any(type(item) is int and item < _LEAST_INTEGER for item in level):
            return True
        filled = [item for item in level if type(item) in {list, dict} and item]
        level = [
            inner
            for item in filled
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += bool(filled)
        if depth > MAX_DEPTH:
            return True
    return False


def linked_keys(block: bytes) -> set[str]:
    """The top-level keys of a DAG-CBOR map whose value is a link (tag 42, the only tag that DAG-CBOR has)."""
    _, entries, at = _head(block, 0)
    linked = set()
    for _ in range(entries):
        _, length, at = _head(block, at)
        key = block[at : at + length].decode()
        at += length
        if block[at] >> 5 == _TAGGED:
            linked.add(key)
        at = _skip(block, at)
    return linked


def linked_items(block: bytes) -> list[bool]:
    """For each item of a DAG-CBOR list whether it is a link."""
    _, items, at = _head(block, 0)
    linked = []
    for _ in range(items):
        linked.append(block[at] >> 5 == _TAGGED)
        at = _skip(block, at)
    return linked


def ends_linked(block: bytes, fields: dict[str, Any]) -> bool:
    """Whether the last two keys of a map are `prev`, a link in its shortest form, and one more; False may also mean undecided.

    The value behind a match must be the map's last value. Were the match inside another value, that
    last value would be the tail of what was decoded behind the match, and so a part of itself.
    """
    prev, last = list(fields)[-2:]
    cid = fields[prev]
    if (
        prev != "prev"
        or not isinstance(cid, bytes)
        or len(cid) >= _SHORT_STRING
        or len(last) >= _TINY_STRING
    ):
        return False
    mark = (
        b"\x64prev\xd8\x2a\x58"
        + bytes([len(cid) + 1, 0])
        + cid
        + bytes([0x60 + len(last)])
        + last.encode()
    )
    at = block.rfind(mark)
    try:
        return at > 0 and bool(decode_dag_cbor(block[at + len(mark) :]) == fields[last])
    except (ValueError, RecursionError):
        return False


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
