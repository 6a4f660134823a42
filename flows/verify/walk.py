"""Finds where a CBOR value ends, if the node's decoder takes it, without making objects of it.

As objects a block of one-byte values takes seventy times its size, and looking at each level of
nested lists anew takes time by the square of their depth. A walk looks at each byte once, and keeps
only which lists and maps are open.

The node's decoder goes at most 256 steps deep. A list or map takes two steps where the decoder
makes a value of it, and one step where it skips it.
"""

import re
import secrets
from array import array
from enum import Enum, auto
from math import isfinite
from struct import Struct
from struct import error as StructError  # noqa: N812 # it is a class

import numpy as np

from flows.verify.cids import cid_at_start

UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, SIMPLE = range(8)
"""The kinds of value, by the first three bits."""

MAX_STEPS = 256
"""How deep the decoder goes; it refuses a block that needs more steps."""

NULL, UNDEFINED, BREAK = 0xF6, 0xF7, 0xFF
"""The bytes that stand for null, for undefined, and for the end of what has no length."""

WITHOUT_LENGTH = 0x1F
"""The last five bits in the first byte of a list, map or string that ends at a BREAK."""

_LINK_TAG = 42
"""The tag of a link."""

NOT_WALKED = (ValueError, IndexError, StructError)
"""What a walk raises where the decoder takes no value; the last two where the block is cut off."""

_LARGEST_SHORT = 23
"""The largest argument that the first byte of a head can hold."""

_WIDTHS = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
"""How a larger argument is stored after that byte, by the last five bits of the byte."""

CONSTANTS = {0xF4: False, 0xF5: True, NULL: None}
FLOATS = {0xFA: Struct(">f"), 0xFB: Struct(">d")}
_SKIPPED = {0xF4: 1, 0xF5: 1, NULL: 1, UNDEFINED: 1, 0xF9: 3, 0xFA: 5, 0xFB: 9}
"""The bytes of each SIMPLE value that the decoder can skip."""

_VERY_NEGATIVE = 1 << 63
"""From this argument on a negative integer is below -2^63."""

_ITEM, _KEY, _OF_KEY = -1, -2, -3
"""Stand for how many values are to come in a list or map that ends at a BREAK: they say what comes
next, an item, a key, or the value of a key."""
_UNTIL_BREAK = frozenset((_ITEM, _KEY))
_NEXT_UNTIL_BREAK = {_ITEM: _ITEM, _KEY: _OF_KEY, _OF_KEY: _KEY}

ONE_BYTE_VALUES = re.compile(rb"[\x00-\x17\x20-\x37\x40\x60\x80\xa0\xf4-\xf6]+")
_SHORT_VALUES = re.compile(rb"(?:\x81{0,8}+[\x00-\x17\x20-\x37\x40\x60\x80\xa0\xf4-\xf6])++")
"""A run: values of one byte, each in up to eight lists of one item. It is matched at once."""

_DEPTH_IN_RUN = 8
"""The most lists around a value of a run."""

_FEWEST_IN_RUN = 8
"""Values. Looking for a run costs more than it saves where fewer are to come."""

_INSIDE = re.compile(rb"\x81+")
"""The heads of lists of one item inside each other."""

_LIST_OF_ONE = 0x81
"""The head of a list of one item."""

_MANY_KEYS = 1_000
"""From so many keys on, sorting their hashes takes less time than a set of them."""

_SECRET = secrets.token_bytes(16)
"""Comes before each key that is hashed: under PYTHONHASHSEED Python's own secret is known."""

_CONTAINERS = frozenset((LIST, MAP))


class ReadAs(Enum):
    """What the node reads a value as, which decides what it may hold."""

    ANY = auto()
    """Untagged, and kept as it is: keys may be anything, and links are not looked into."""
    VALUE = auto()
    """Untagged, and encoded again: keys are distinct texts, links are CIDs, numbers are finite."""
    NODE = auto()
    """As VALUE, but of a known type: integers may be of any size, and keys may come in parts."""


def head(block: bytes, at: int, kind: int) -> tuple[int, int]:
    """The argument of the head at `at`, read as one of this kind, and the index after it.

    Raises:
        NOT_WALKED: there is no such head.
    """
    # the node clears the bits of the kind that it expects, and does not check the others: so it
    # takes some values of another kind
    argument = block[at] & ~(kind << 5)
    at += 1
    if argument <= _LARGEST_SHORT:
        return argument, at
    width = _WIDTHS.get(argument)
    if width is None:
        raise ValueError("no length")
    (argument,) = width.unpack_from(block, at)
    return argument, at + width.size


def string(block: bytes, at: int, kind: int, steps: int) -> tuple[bytes, int]:
    """The content of a string, which may come in parts, and the index after it.

    Raises:
        NOT_WALKED: the decoder takes no such string.
    """
    if block[at] != kind << 5 | WITHOUT_LENGTH:
        length, at = head(block, at, kind)
        if at + length > len(block):
            raise ValueError("cut off")
        return block[at : at + length], at + length
    at += 1
    parts = []
    while block[at] != BREAK:
        if not steps:
            raise ValueError("too deep")
        part, at = string(block, at, kind, steps - 1)
        parts.append(part)
    return b"".join(parts), at + 1


def value_end(block: bytes, at: int, read_as: ReadAs, steps: int = MAX_STEPS) -> int:
    """The index after the value at `at`.

    Args:
        block: what it is in.
        at: where it begins.
        read_as: what the node reads it as.
        steps: how many the decoder may still go down.

    Raises:
        NOT_WALKED: the decoder takes no such value.
    """
    return _Walk(block, read_as, steps).end(at)


class _Walk:
    def __init__(self, block: bytes, read_as: ReadAs, steps: int) -> None:
        self._block = block
        self._is_untagged = read_as is not ReadAs.NODE
        self._is_encoded = read_as is not ReadAs.ANY
        self._steps = steps

    def end(self, at: int) -> int:  # noqa: C901, PLR0912, PLR0915 # one loop: calls take time
        """The index after the value at `at`."""
        block, size = self._block, len(self._block)
        is_untagged, is_encoded = self._is_untagged, self._is_encoded
        # each list or map takes two steps, and what is in the last one takes one
        most, most_around = (self._steps - 1) // 2, self._steps // 2 - 1
        most_in_run = most_around - _DEPTH_IN_RUN
        depth, unread = 0, 1
        keys: _Keys | None = None
        around: list[tuple[int, int, _Keys | None]] = []
        while True:
            while not unread:
                if keys is not None:
                    keys.require_distinct()
                if not around:
                    return at
                unread, levels, keys = around.pop()
                depth -= levels
            if depth > most:
                raise ValueError("too deep")
            if keys is not None and not unread & 1:
                at = self._key_end(at, keys, depth)
                unread -= 1
                continue
            byte = block[at]
            if (
                unread >= _FEWEST_IN_RUN
                and keys is None
                and depth <= most_in_run
                and (run := _SHORT_VALUES.match(block, at, at + unread))
            ):
                # a run has at least one byte a value, so it ends within the list
                at = run.end()
                unread -= at - run.start() - block.count(_LIST_OF_ONE, run.start(), at)
                continue
            kind = byte >> 5
            if kind == SIMPLE:
                at = self._simple_end(at)
                unread -= 1
                continue
            argument = byte & 0x1F
            begin, at = at, at + 1
            if argument > _LARGEST_SHORT:
                argument, at = head(block, begin, kind)
            unread -= 1
            if kind == TEXT:
                begin, at = at, at + argument
                if at > size:
                    raise ValueError("cut off")
                block[begin:at].decode()
            elif kind == BYTES:
                at += argument
                if at > size:
                    raise ValueError("cut off")
            elif kind in _CONTAINERS:
                if depth > most_around or argument > size:
                    raise ValueError("too deep, or longer than the block")
                levels = 1
                if byte == _LIST_OF_ONE and (inside := _INSIDE.match(block, at)):
                    at = inside.end()
                    levels += at - inside.start()
                    if depth + levels - 1 > most_around:
                        raise ValueError("too deep")
                around.append((unread, levels, keys))
                depth += levels
                unread = argument if kind == LIST else 2 * argument
                keys = _Keys() if kind == MAP and is_encoded else None
            elif kind == TAG:
                at = self._link_end(begin, depth)
            elif kind == NEGATIVE and is_untagged and argument >= _VERY_NEGATIVE:
                raise ValueError("an integer below -2^63")

    def _key_end(self, at: int, keys: "_Keys", depth: int) -> int:
        kind = TEXT
        if self._is_untagged:
            kind = self._block[at] >> 5
            if kind not in {BYTES, TEXT} or self._block[at] & 0x1F == WITHOUT_LENGTH:
                raise ValueError("a key that is no text")
        key, at = string(self._block, at, kind, self._steps - 2 * depth)
        key.decode()
        keys.add(key)
        return at

    def _link_end(self, at: int, depth: int) -> int:
        content, at = link_content(self._block, at, self._steps - 2 * depth - 1)
        if self._is_encoded and cid_at_start(content) is None:
            raise ValueError("a link that is no CID")
        return at

    def _simple_end(self, at: int) -> int:
        byte = self._block[at]
        if byte in CONSTANTS:
            return at + 1
        layout = FLOATS.get(byte)
        if layout is None:
            raise ValueError("a value that is none of DAG-CBOR")
        (number,) = layout.unpack_from(self._block, at + 1)
        if self._is_encoded and not isfinite(number):
            raise ValueError("a number that is not finite")
        return at + 1 + layout.size


class _Keys:
    """The keys of one map, of which no two may be alike."""

    def __init__(self) -> None:
        self._last = (-1, b"")
        self._is_sorted = True
        self._hashes = array("q")
        """Of 64 bits, with a secret of the process: two keys are alike neither by chance nor on
        purpose."""

    def add(self, key: bytes) -> None:
        """Take the next key."""
        before, self._last = self._last, (len(key), key)
        self._is_sorted = self._is_sorted and before < self._last
        self._hashes.append(hash(_SECRET + key))

    def require_distinct(self) -> None:
        """Raise a ValueError if a key came twice."""
        # nodes write them sorted
        if self._is_sorted:
            return
        if len(self._hashes) < _MANY_KEYS:
            distinct = len({*self._hashes})
        else:
            distinct = len(np.unique(np.frombuffer(self._hashes, dtype=np.int64)))
        if distinct < len(self._hashes):
            raise ValueError("the same key twice")


def link_content(block: bytes, at: int, steps: int) -> tuple[bytes, int]:
    """The content of a link without its leading zero, and the index after the link.

    Raises:
        NOT_WALKED: the decoder takes no such link.
    """
    tag, at = head(block, at, TAG)
    if tag != _LINK_TAG:
        raise ValueError("a tag other than that of a link")
    if block[at] >> 5 != BYTES:
        raise ValueError("a link that is no byte string")
    content, at = string(block, at, BYTES, steps)
    if len(content) < 2 or content[0]:  # noqa: PLR2004 # a zero and something
        raise ValueError("a link without its zero")
    return content[1:], at


def skipped_end(block: bytes, at: int, steps: int) -> int:  # noqa: C901, PLR0912 # one loop
    """The index after the value at `at`, which the decoder skips: it may be any CBOR.

    Args:
        block: what it is in.
        at: where it begins.
        steps: how many the decoder may still go down.

    Raises:
        NOT_WALKED: the decoder can't skip it.
    """
    size = len(block)
    depth, unread = 0, 1
    around: list[tuple[int, int]] = []
    while True:
        while not unread or (unread in _UNTIL_BREAK and block[at] == BREAK):
            at += unread != 0
            if not around:
                return at
            unread, levels = around.pop()
            depth -= levels
        if depth >= steps:
            raise ValueError("too deep")
        byte = block[at]
        if (
            unread >= _FEWEST_IN_RUN
            and depth + _DEPTH_IN_RUN < steps
            and (run := _SHORT_VALUES.match(block, at, at + unread))
        ):
            at = run.end()
            unread -= at - run.start() - block.count(_LIST_OF_ONE, run.start(), at)
            continue
        kind = byte >> 5
        unread = unread - 1 if unread > 0 else _NEXT_UNTIL_BREAK[unread]
        if kind == SIMPLE:
            if byte not in _SKIPPED:
                raise ValueError("no value")
            at += _SKIPPED[byte]
        elif byte & 0x1F == WITHOUT_LENGTH and kind in {BYTES, TEXT, LIST, MAP}:
            around.append((unread, 1))
            at, depth, unread = at + 1, depth + 1, _KEY if kind == MAP else _ITEM
        else:
            argument, at = head(block, at, kind)
            if kind in {BYTES, TEXT}:
                at += argument
            elif kind in {LIST, MAP, TAG}:
                levels = 1
                if byte == _LIST_OF_ONE and (inside := _INSIDE.match(block, at)):
                    at = inside.end()
                    levels += at - inside.start()
                if depth + levels > steps or (kind != TAG and argument > size):
                    raise ValueError("too deep, or longer than the block")
                around.append((unread, levels))
                depth += levels
                unread = 1 if kind == TAG else argument if kind == LIST else 2 * argument
        if at > size:
            raise ValueError("cut off")
