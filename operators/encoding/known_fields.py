"""Maps of which a node knows the fields: it reads those, and skips all others.

What it skips may hold any CBOR. It goes at most 256 steps deep: one for each map, list and tag that
is open, and one for the innermost value.
"""

from collections.abc import Callable, Collection, Mapping
from struct import error
from typing import TypeVar

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import (
    BREAK,
    BYTES,
    CONTAINERS,
    LINK_TAG,
    LIST,
    MANY,
    MAP,
    MAX_STEPS,
    NULL,
    ONE_BYTE,
    OTHER,
    STRINGS,
    TAG,
    TEXT,
    WITHOUT_LENGTH,
    head_as,
    string,
)
from operators.encoding.readable import value_end

Content = TypeVar("Content")
Read = Callable[[bytes, int, int], tuple[Content, int]]
"""Reads the value at an index of a block with so many steps: its content and the index after it.
"""

UNREADABLE = (ValueError, IndexError, error)
"""What is raised by a value that a node can't read."""

_SIZES = {0xF4: 1, 0xF5: 1, NULL: 1, 0xF7: 1, 0xF9: 3, 0xFA: 5, 0xFB: 9}
"""The bytes of each value of the last major type that a node can skip, by its head."""
_NAMED_BY_MAP = 0xA1


def read_known(block: bytes, readers: Mapping[str, Read[Content]]) -> dict[str, Content] | None:
    """The fields of a block that is a map and nothing else, None if a node can't read it."""
    try:
        fields, end = _fields(block, 0, MAX_STEPS, readers)
    except UNREADABLE:
        return None
    return fields if end == len(block) else None


def fields_of(readers: Mapping[str, Read[Content]]) -> Read[dict[str, Content]]:
    """Reads a map with these fields, none of which need be there."""
    return lambda block, at, steps: _fields(block, at, steps, readers)


def _fields(
    block: bytes, at: int, steps: int, readers: Mapping[str, Read[Content]]
) -> tuple[dict[str, Content], int]:
    inside = _step(steps)
    count, at = _count(block, at, MAP)
    found: dict[str, Content] = {}
    for _ in range(count):
        name, at = text(block, at, inside)
        if name in found:
            raise ValueError("a field twice")
        if name in readers:
            found[name], at = readers[name](block, at, inside)
        else:
            at = _skipped_end(block, at, inside)
    return found, at


def text(block: bytes, at: int, steps: int) -> tuple[str, int]:
    """Reads a text."""
    content, at = string(block, at, TEXT, steps)
    return content.decode(), at


def texts(block: bytes, at: int, steps: int) -> tuple[None, int]:
    """Reads a list of texts, and keeps none."""
    inside = _step(steps)
    count, at = _count(block, at, LIST)
    for _ in range(count):
        _, at = text(block, at, inside)
    return None, at


def link(block: bytes, at: int, steps: int) -> tuple[Cid, int]:
    """Reads a link."""
    tag, at = head_as(block, at, TAG)
    if tag != LINK_TAG or block[at] >> 5 != BYTES:
        raise ValueError("no link")
    content, at = string(block, at, BYTES, steps)
    cid = None if content[:1] != b"\0" else read_cid(content[1:])
    if cid is None:
        raise ValueError("a link that is no CID")
    return cid, at


def one_of(names: Collection[str]) -> Read[str]:
    """Reads one of these names."""

    def read(block: bytes, at: int, steps: int) -> tuple[str, int]:
        # of a name in a map a node does not read the value: it reads on after the name
        if block[at] == _NAMED_BY_MAP:
            at += 1
        elif block[at] >> 5 != TEXT:
            raise ValueError("no name")
        name, at = text(block, at, _step(steps))
        if name not in names:
            raise ValueError("another name")
        return name, at

    return read


def optional(read: Read[Content]) -> Read[Content | None]:
    """Reads null, or what `read` reads."""

    def read_if_any(block: bytes, at: int, steps: int) -> tuple[Content | None, int]:
        if block[at] == NULL:
            return None, at + 1
        return read(block, at, _step(steps))

    return read_if_any


def untagged(block: bytes, at: int, steps: int) -> tuple[None, int]:
    """Reads any value of which a node does not know the type."""
    end = value_end(block, at, steps)
    if end is None:
        raise ValueError("a value that a node can't keep")
    return None, end


def _step(steps: int) -> int:
    if not steps:
        raise ValueError("too deep")
    return steps - 1


def _count(block: bytes, at: int, major: int) -> tuple[int, int]:
    count, at = head_as(block, at, major)
    if count > len(block):
        raise ValueError("cut off")
    return count, at


_ANY, _KEY, _VALUE = -1, -2, -3
"""What comes next in a list or map that ends at a break: any item, a key, or the value of a key."""
_BEHIND = {_ANY: _ANY, _KEY: _VALUE, _VALUE: _KEY}


def _skipped_end(  # noqa: C901, PLR0912 # one loop, for speed
    block: bytes, at: int, steps: int
) -> int:
    """The index after the value at `at`, whatever it is."""
    size = len(block)
    following, above = 1, list[int]()
    while True:
        while not following or (following in {_ANY, _KEY} and block[at] == BREAK):
            at += following < 0
            if not above:
                return at
            following = above.pop()
        if len(above) >= steps:
            raise ValueError("too deep")
        if following >= MANY and (run := ONE_BYTE.match(block, at, at + following)):
            following, at = following - len(run[0]), run.end()
            continue
        byte, following = block[at], _BEHIND.get(following, following - 1)
        major = byte >> 5
        if major == OTHER:
            if byte not in _SIZES:
                raise ValueError("no value")
            at += _SIZES[byte]
        elif byte & WITHOUT_LENGTH == WITHOUT_LENGTH and major in CONTAINERS | STRINGS:
            above.append(following)
            following, at = _KEY if major == MAP else _ANY, at + 1
        elif major in STRINGS:
            length, at = head_as(block, at, major)
            at += length
        elif major in CONTAINERS:
            above.append(following)
            following, at = _count(block, at, major)
            following *= 2 if major == MAP else 1
        else:
            _, at = head_as(block, at, major)
            if major == TAG:
                above.append(following)
                following = 1
        if at > size:
            raise ValueError("cut off")
