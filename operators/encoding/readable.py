"""What a node can read: a block, or a value in it, taken as a node takes it.

The decoder makes objects of a whole block. It is the fast way, but a block of one-byte values
takes seventy times its size, and the decoder holds a block to rules that a node does not know: the
order of keys, no negative zero. A walk takes no memory.
"""

import re
import secrets
from array import array
from enum import Enum, auto
from math import isfinite
from struct import error

import numpy as np
from libipld import decode_dag_cbor

from operators.encoding.cid import read_cid
from operators.encoding.dagcbor import (
    BYTES,
    CONTAINERS,
    FLOATS,
    LARGEST_IN_HEAD,
    LINK_TAG,
    LIST,
    MANY,
    MAP,
    MAX_STEPS,
    NEGATIVE,
    ONE_BYTE,
    OTHER,
    SIMPLE,
    STRINGS,
    TAG,
    TEXT,
    head,
    string,
)

LARGEST_DECODED = 128 * 1024
"""The most bytes of a block that is decoded into objects: these take up to 9 MB."""

MAX_DEPTH = 127
"""The most lists and maps inside each other that a node reads where it does not know the types
before. Its decoder takes 256 steps: two for each of them, one for what the innermost holds."""

MOST_NEGATIVE = 1 << 63
"""A node reads no integer below -2^63 where it does not know the types before."""

VERY_NEGATIVE = (0x3B, 0x80)
"""How an integer below -2^63 begins: with the first byte, and then one at least as large as the
second. These bytes may be part of another value too."""

_MAY_BE_VERY_NEGATIVE = re.compile(b"\x3b[\x80-\xff]")

_ALL_BUT_CONTAINERS = bytes(set(range(256)) - set(range(0x81, 0x9C)) - set(range(0xA1, 0xBC)))
"""Bytes that can't begin a list or map with something in it."""

_MANY_KEYS = 1024
"""From so many keys on, numpy takes less time than a set of Python."""

_SECRET = secrets.token_bytes(16)
"""What all keys begin with when they are hashed: with PYTHONHASHSEED set, Python has no secret of
its own, and two keys of one hash are found in minutes."""


class Reading(Enum):
    """What a node can read of a block."""

    NOTHING = auto()
    LAX = auto()
    """One value, of which some fields may be such that a node can't encode them anew."""
    STRICT = auto()
    """One value, all of which it can encode anew."""


def read(block: bytes, *, untagged: bool = True) -> Reading:
    """What a node can read of a block.

    Args:
        block: its bytes.
        untagged: whether the node does not know the types before. It then looks into no link
            and at no key before it needs them; else what is there must be right.
    """
    if len(block) <= LARGEST_DECODED:
        try:
            content = decode_dag_cbor(block)
        except (ValueError, RecursionError):
            pass  # a node takes more than this decoder
        else:
            least = -MOST_NEGATIVE if untagged else None
            is_beyond = _may_be_beyond(block) and _is_beyond(content, least)
            return Reading.NOTHING if is_beyond else Reading.STRICT
    end = value_end(block, 0, untagged=untagged, strict=not untagged)
    return Reading.LAX if end == len(block) else Reading.NOTHING


def is_beyond_node(block: bytes, content: object) -> bool:
    """Whether a node refuses a block that the decoder took, as one that it reads untagged.

    That is one nested more than MAX_DEPTH deep, or with an integer below -2^63.
    """
    return _may_be_beyond(block) and _is_beyond(content, -MOST_NEGATIVE)


def _may_be_beyond(block: bytes) -> bool:
    """False: certainly nothing in a block is more than MAX_DEPTH deep, or below -2^63."""
    is_deep = len(block) > MAX_DEPTH and (
        len(block.translate(None, _ALL_BUT_CONTAINERS)) > MAX_DEPTH
    )
    return is_deep or _MAY_BE_VERY_NEGATIVE.search(block) is not None


def _is_beyond(content: object, least: int | None) -> bool:
    """Whether lists and maps are more than MAX_DEPTH deep, or an integer is below `least`."""
    level, depth = [content], 0
    while level:
        if least is not None and any(type(item) is int and item < least for item in level):
            return True
        filled = [item for item in level if isinstance(item, list | dict) and item]
        level = [
            inner
            for item in filled
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += bool(filled)
        if depth > MAX_DEPTH:
            return True
    return False


def value_end(
    block: bytes, at: int, steps: int = MAX_STEPS, *, untagged: bool = True, strict: bool = True
) -> int | None:
    """Where the value at `at` ends, None if a node can't read it.

    Args:
        block: what it is in.
        at: where it begins.
        steps: that the node has left.
        untagged: no integer may be below -2^63.
        strict: keys are texts, no two alike, links are CIDs, and numbers are finite.
    """
    try:
        return _Walk(block, steps, untagged=untagged, strict=strict).end(at)
    except (ValueError, IndexError, error):
        return None


class _Walk:
    """A walk over a value without recursion, because hostile blocks nest deeply."""

    def __init__(self, block: bytes, steps: int, *, untagged: bool, strict: bool) -> None:
        self._block, self._steps = block, steps
        self._untagged, self._strict = untagged, strict

    def end(self, at: int) -> int:  # noqa: C901, PLR0912 # one loop, for speed
        """The index after the value at `at`."""
        block, size = self._block, len(self._block)
        # two steps for each list or map, and one for a value in the last of them
        most, most_filled = self._steps // 2, (self._steps - 1) // 2
        unread, keys = 1, None
        above: list[tuple[int, _MapKeys | None]] = []
        while True:
            while not unread:
                if keys is not None:
                    keys.require_distinct()
                if not above:
                    return at
                unread, keys = above.pop()
            if unread >= MANY and keys is None and len(above) < most:
                run = ONE_BYTE.match(block, at, at + unread)
                if run is not None:
                    unread, at = unread - len(run[0]), run.end()
                    continue
            unread -= 1
            if keys is not None and unread % 2:
                at = self._key_end(at, keys, len(above))
                continue
            if block[at] >> 5 == OTHER:
                at = self._other_end(at)
                continue
            major, argument = block[at] >> 5, block[at] & 31
            at += 1
            if argument > LARGEST_IN_HEAD:
                major, argument, at = head(block, at - 1)
            if major in STRINGS:
                begin, at = at, at + argument
                if at > size:
                    raise ValueError("cut off")
                if major == TEXT:
                    block[begin:at].decode()
            elif major in CONTAINERS:
                count = argument if major == LIST else 2 * argument
                if len(above) >= (most_filled if count else most) or count > size - at:
                    raise ValueError("too deep, or cut off")
                above.append((unread, keys))
                unread, keys = count, _MapKeys() if self._strict and major == MAP else None
            elif major == TAG:
                at = self._link_end(argument, at, len(above))
            elif major == NEGATIVE and self._untagged and argument >= MOST_NEGATIVE:
                raise ValueError("an integer below -2^63")

    def _key_end(self, at: int, keys: "_MapKeys", depth: int) -> int:
        kind = TEXT
        if self._untagged:
            # as a value by itself
            kind, _, _ = head(self._block, at)
            if kind not in STRINGS:
                raise ValueError("a key that is no text")
        key, at = string(self._block, at, kind, self._steps - 2 * depth)
        key.decode()
        keys.add(key)
        return at

    def _link_end(self, tag: int, at: int, depth: int) -> int:
        if tag != LINK_TAG or self._block[at] >> 5 != BYTES:
            raise ValueError("a tag other than that of a link")
        content, end = string(self._block, at, BYTES, self._steps - 2 * depth - 1)
        if len(content) < 2 or content[0]:  # noqa: PLR2004 # a zero and something
            raise ValueError("a link without its zero")
        if self._strict and read_cid(content[1:]) is None:
            raise ValueError("a link that is no CID")
        return end

    def _other_end(self, at: int) -> int:
        byte = self._block[at]
        if byte in SIMPLE:
            return at + 1
        if byte not in FLOATS:
            raise ValueError("a value that is none of DAG-CBOR")
        layout = FLOATS[byte]
        (number,) = layout.unpack_from(self._block, at + 1)
        if self._strict and not isfinite(number):
            raise ValueError("a number that is not finite")
        return at + 1 + layout.size


class _MapKeys:
    """The keys of one map, to find out whether two are alike."""

    def __init__(self) -> None:
        self._last = (-1, b"")
        self._rise = True
        """Whether each is larger than the one before, by length, then bytes: as nodes write them.
        """
        self._hashes = array("q")

    def add(self, key: bytes) -> None:
        """Take the next key."""
        before, self._last = self._last, (len(key), key)
        self._rise = self._rise and before < self._last
        self._hashes.append(hash(_SECRET + key))

    def require_distinct(self) -> None:
        """Raise a ValueError if two are alike, by hashes of 64 bits that a secret goes into."""
        if self._rise:
            return
        many = len(self._hashes) > _MANY_KEYS
        distinct = (
            np.unique(np.frombuffer(self._hashes, dtype=np.int64)) if many else {*self._hashes}
        )
        if len(distinct) < len(self._hashes):
            raise ValueError("a key twice")
