"""Walks over CBOR without making objects of it: where values end that the node's decoder takes.

A block of one-byte values takes seventy times its size as objects, and lists inside each other take
time by the square where each level is looked at anew. A walk takes no memory but for what is open,
and looks at each byte once.

The node's decoder takes 256 steps into a block. What a value costs of them depends on what it is
read as: a list or map of which it makes a value takes two, one that it steps over takes one.
"""

import re
from array import array
from enum import Enum, auto
from math import isfinite
from struct import Struct
from struct import error as StructError  # noqa: N812 # it is a class

import numpy as np

from flows.verify.cids import cid_at_start

UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, SIMPLE = range(8)
"""The first three bits of a value."""

MAX_STEPS = 256
NULL, UNDEFINED, BREAK = 0xF6, 0xF7, 0xFF
WITHOUT_LENGTH = 0x1F
"""The argument of a list, map or string that a break ends."""
_LINK_TAG = 42

NOT_WALKED = (ValueError, IndexError, StructError)
"""What is raised where the decoder takes no value: the last two where the block ends before."""

_LARGEST_SHORT = 23
"""A larger argument of a head stands behind its first byte."""
_WIDTHS = {24: Struct(">B"), 25: Struct(">H"), 26: Struct(">I"), 27: Struct(">Q")}
CONSTANTS = {0xF4: False, 0xF5: True, NULL: None}
FLOATS = {0xFA: Struct(">f"), 0xFB: Struct(">d")}
_STEPPED_OVER = {0xF4: 1, 0xF5: 1, NULL: 1, UNDEFINED: 1, 0xF9: 3, 0xFA: 5, 0xFB: 9}
"""Values of the last kind that are stepped over, and their bytes."""
_LEAST_ARGUMENT = 1 << 63
"""From here on a negative integer is below -2^63."""

_ITEM, _KEY, _OF_KEY = -1, -2, -3
"""What comes next where a break ends a list or map, in place of how many values are to come."""
_UNTIL_BREAK = frozenset((_ITEM, _KEY))
_NEXT_UNTIL_BREAK = {_ITEM: _ITEM, _KEY: _OF_KEY, _OF_KEY: _KEY}

ONE_BYTE_VALUES = re.compile(rb"[\x00-\x17\x20-\x37\x40\x60\x80\xa0\xf4-\xf6]+")
_SHORT_VALUES = re.compile(rb"(?:\x81{0,8}+[\x00-\x17\x20-\x37\x40\x60\x80\xa0\xf4-\xf6])++")
"""Values of one byte, each in up to eight lists of one value."""
_DEPTH_IN_RUN = 8
_FEWEST_IN_RUN = 8
"""With fewer values to come it is no use to look for a run."""
_INSIDE = re.compile(rb"\x81+")
"""Lists of one value inside each other."""
_LIST_OF_ONE = 0x81
_MANY_KEYS = 1_000
"""From here on sorting keys in an array beats a set of them."""


_CONTAINERS = frozenset((LIST, MAP))


class Rules(Enum):
    """What a value may hold, by what the node makes of it."""

    ANY = auto()
    """It is kept as it is, untagged; keys may be anything, and no link is looked into."""
    VALUE = auto()
    """Untagged, and encoded again: keys are texts, each once, links are CIDs, numbers finite."""
    NODE = auto()
    """Likewise, but of a known type: integers may be of any size, and keys in parts."""


def head(block: bytes, at: int, kind: int) -> tuple[int, int]:
    """The argument of the head at `at`, read as one of this kind, and the index behind it."""
    # the node clears the bits of the kind that it expects and does not look for others, so
    # that it takes some values of another kind
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
    """The content of a string, which may come in parts, and the index behind it."""
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


def value_end(block: bytes, at: int, rules: Rules, steps: int = MAX_STEPS) -> int:
    """The index behind the value at `at`.

    Args:
        block: what it is in.
        at: where it begins.
        rules: what it may hold.
        steps: that are left to the decoder.

    Raises:
        NOT_WALKED: the decoder takes no such value.
    """
    return _Walk(block, rules, steps).end(at)


class _Walk:
    def __init__(self, block: bytes, rules: Rules, steps: int) -> None:
        self._block = block
        self._is_untagged = rules is not Rules.NODE
        self._is_encoded = rules is not Rules.ANY
        self._steps = steps

    def end(self, at: int) -> int:  # noqa: C901, PLR0912, PLR0915 # one loop: calls take time
        """The index behind the value at `at`."""
        block, size = self._block, len(self._block)
        is_untagged, is_encoded = self._is_untagged, self._is_encoded
        # two steps for each list or map, and one for what is in the last one
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
                # that there are no more values than bytes keeps within the list
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
            elif kind == NEGATIVE and is_untagged and argument >= _LEAST_ARGUMENT:
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
        """With 64 bits and a secret: no two keys have the same by chance or on purpose."""

    def add(self, key: bytes) -> None:
        """Take the next key."""
        before, self._last = self._last, (len(key), key)
        self._is_sorted = self._is_sorted and before < self._last
        self._hashes.append(hash(key))

    def require_distinct(self) -> None:
        """Raise a ValueError if a key came twice."""
        # as nodes write them, each is larger than the one before
        if self._is_sorted:
            return
        if len(self._hashes) < _MANY_KEYS:
            distinct = len({*self._hashes})
        else:
            distinct = len(np.unique(np.frombuffer(self._hashes, dtype=np.int64)))
        if distinct < len(self._hashes):
            raise ValueError("a key twice")


def link_content(block: bytes, at: int, steps: int) -> tuple[bytes, int]:
    """What stands behind the zero of a link, and the index behind it."""
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
    """The index behind the value at `at` that is stepped over, and may be any CBOR.

    Raises:
        NOT_WALKED: the decoder can't step over it.
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
            if byte not in _STEPPED_OVER:
                raise ValueError("no value")
            at += _STEPPED_OVER[byte]
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
