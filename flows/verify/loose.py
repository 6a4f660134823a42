"""A decoder that takes exactly what the node's takes, for blocks that are not strict DAG-CBOR.

Nodes decode with serde_ipld_dagcbor 0.6, which takes more than DAG-CBOR allows. What it takes
depends on what a block is read as:

- untagged: roots and payloads. The whole block must be readable. Whether a link holds a CID counts
  only where a field needs a link.
- typed: proofs and capabilities. Fields that the type does not have are skipped, and may hold any
  CBOR.
- a value: witness nodes.

Lists and maps stay bytes: an item or a field is read when it is needed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TypeAlias, TypeVar

from flows.verify.cids import Link, read_link
from flows.verify.walk import (
    BYTES,
    CONSTANTS,
    FLOATS,
    LIST,
    MAP,
    MAX_STEPS,
    NEGATIVE,
    NOT_WALKED,
    NULL,
    ONE_BYTE_VALUES,
    TAG,
    TEXT,
    UNSIGNED,
    ReadAs,
    head,
    link_content,
    skipped_end,
    string,
    value_end,
)

FieldValue = TypeVar("FieldValue")

_BYTE = re.compile(
    rb"[\x00-\x17]|\x18.|\x19\x00.|\x1a\x00{3}.|\x1b\x00{7}.".join((rb"(?:", rb")*+")), re.DOTALL
)
"""Numbers below 256, in any of their encodings."""

_LONGEST_CID = 110
"""The most bytes of a CID: four varints and a digest."""

_MOST_FIELDS = 8
"""The most fields of a type; a map may name a field by its place in the type."""

_NAMES = (
    *("id", "prev", "proof", "path", "payload", "signatures", "header", "data", "protected"),
    *("signature", "controllers", "sep", "model", "shouldIndex", "unique", "context"),
    "modelVersion",
)
_FIELDS = {name.encode(): name for name in _NAMES}
"""The names of all fields of the types that the node reads untagged."""


class BadLink(bytes):
    """The bytes of a link that holds no CID: an error only where a field needs this link."""

    __slots__ = ()


class Items:
    """A list in a block that is known to be readable."""

    def __init__(self, block: bytes, at: int) -> None:
        self.block, self.at = block, at
        self._length, self._first = head(block, at, LIST)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> "Iterator[Cbor]":
        at = self._first
        for _ in range(self._length):
            yield content_at(self.block, at)
            at = value_end(self.block, at, ReadAs.ANY)

    def leading_bytes(self) -> bytes:
        """Its first items as bytes, as many as a CID may have; empty if an item is none."""
        end = value_end(self.block, self.at, ReadAs.ANY)
        if _BYTE.fullmatch(self.block, self._first, end) is None:
            return b""
        found = bytearray()
        at = self._first
        for _ in range(min(self._length, _LONGEST_CID)):
            number, at = head(self.block, at, UNSIGNED)
            found.append(number)
        return bytes(found)


class Map:
    """A map in a block that is known to be readable. A key may be bytes in UTF-8 or a text."""

    def __init__(self, block: bytes, at: int) -> None:
        self.block, self.at = block, at
        self._found: dict[str | int, int] | None = None
        self._repeated: set[str | int] = set()
        self._has_odd_keys = False

    def fields(self, names: tuple[str, ...]) -> "dict[str, Cbor] | None":
        """Those of these fields that the map has, None if the node refuses its keys.

        A key that is a number stands for the field at that place in `names`.
        """
        if self._found is None:
            self._found = {}
            for key, at in self._keys():
                if key in self._found:
                    self._repeated.add(key)
                self._found[key] = at
        if self._has_odd_keys:
            return None
        fields = {}
        for place, name in enumerate(names):
            keys = [key for key in (name, place) if key in self._found]
            if len(keys) > 1 or not self._repeated.isdisjoint(keys):
                return None
            if keys:
                fields[name] = content_at(self.block, self._found[keys[0]])
        return fields

    def _keys(self) -> Iterator[tuple[str | int, int]]:
        """The keys that can name a field, and where their values begin."""
        block = self.block
        count, at = head(block, self.at, MAP)
        for _ in range(count):
            kind, begin = block[at] >> 5, at
            key: str | int | None = None
            if kind in {BYTES, TEXT}:
                length, at = head(block, at, kind)
                name = block[at : at + length]
                at += length
                key = _FIELDS.get(name)
            elif kind == UNSIGNED:
                number, at = head(block, at, kind)
                key = number if number < _MOST_FIELDS else None
            else:
                self._has_odd_keys = True
                at = value_end(block, begin, ReadAs.ANY)
            if key is not None:
                yield key, at
            at = value_end(block, at, ReadAs.ANY)

    def has_text_keys(self) -> bool:
        """Whether its keys are texts and its values can be encoded again; keys may be repeated."""
        count, at = head(self.block, self.at, MAP)
        try:
            for _ in range(count):
                kind = self.block[at] >> 5
                if kind not in {BYTES, TEXT}:
                    return False
                key, at = string(self.block, at, kind, 0)
                key.decode()
                at = value_end(self.block, at, ReadAs.VALUE)
        except NOT_WALKED:
            return False
        return True


Cbor: TypeAlias = (
    "bool | int | float | str | bytes | list[Cbor] | dict[str, Cbor] | Items | Map | None"
)
"""A decoded value; the bytes of a link are `Link` or `BadLink`."""


def untagged_content(block: bytes) -> Cbor:
    """What is in a block that the node reads untagged.

    Raises:
        NOT_WALKED: the node can't read it.
    """
    if value_end(block, 0, ReadAs.ANY) != len(block):
        raise ValueError("something follows the value")
    return content_at(block, 0)


def content_at(block: bytes, at: int) -> Cbor:
    """The value at `at` in a block that is known to be readable untagged."""
    byte = block[at]
    kind = byte >> 5
    if kind == LIST:
        return Items(block, at)
    if kind == MAP:
        return Map(block, at)
    if kind == TAG:
        content, _ = link_content(block, at, MAX_STEPS)
        try:
            return read_link(content)
        except ValueError:
            return BadLink(content)
    if kind in {UNSIGNED, NEGATIVE}:
        number, _ = head(block, at, kind)
        return -1 - number if kind == NEGATIVE else number
    if kind in {BYTES, TEXT}:
        content, _ = string(block, at, kind, 0)
        return content.decode() if kind == TEXT else content
    if byte in CONSTANTS:
        return CONSTANTS[byte]
    (number,) = FLOATS[byte].unpack_from(block, at + 1)
    return float(number)


class LooseReader:
    """Reads the fields of a type from a block, and skips all others.

    Its methods raise NOT_WALKED where the node's decoder takes no such value.
    """

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0
        self._steps = MAX_STEPS

    def end(self) -> None:
        """Check that nothing follows what was read."""
        if self._at != len(self._block):
            raise ValueError("something follows the value")

    def text(self) -> str:
        """Read a text, which may come in parts."""
        content, self._at = string(self._block, self._at, TEXT, self._steps)
        return content.decode()

    def link(self) -> Link:
        """Read a link."""
        content, self._at = link_content(self._block, self._at, self._steps)
        return read_link(content)

    def untagged_value(self) -> None:
        """Skip a value that the node reads untagged and can encode again."""
        self._at = value_end(self._block, self._at, ReadAs.VALUE, self._steps)

    def optional(self, read: Callable[[], FieldValue]) -> FieldValue | None:
        """Read null, or what `read` reads."""
        if self._block[self._at] == NULL:
            self._at += 1
            return None
        self._step(1)
        found = read()
        self._step(-1)
        return found

    def variant(self) -> str:
        """Read one of several names, a variant of an enum."""
        self._step(1)
        byte = self._block[self._at]
        if byte == MAP << 5 | 1:
            # of a name in a map the node does not read the value: it reads on after the name
            self._at += 1
        elif byte >> 5 != TEXT:
            raise ValueError("no name")
        found = self.text()
        self._step(-1)
        return found

    def texts(self) -> None:
        """Skip a list of texts."""
        self._step(1)
        for _ in range(self._length(LIST)):
            self.text()
        self._step(-1)

    def fields(self, readers: Mapping[str, Callable[[], FieldValue]]) -> dict[str, FieldValue]:
        """Read a map with these fields; any others are skipped."""
        self._step(1)
        found: dict[str, FieldValue] = {}
        for _ in range(self._length(MAP)):
            name = self.text()
            if name in found:
                raise ValueError("a field twice")
            if name in readers:
                found[name] = readers[name]()
            else:
                self._at = skipped_end(self._block, self._at, self._steps)
        self._step(-1)
        return found

    def _length(self, kind: int) -> int:
        length, self._at = head(self._block, self._at, kind)
        if length > len(self._block):
            # each item takes a byte at least
            raise ValueError("longer than the block")
        return length

    def _step(self, by: int) -> None:
        self._steps -= by
        if self._steps < 0:
            raise ValueError(f"more than {MAX_STEPS} steps deep")


def is_value(content: Cbor) -> bool:
    """Whether the node can encode again what its decoder has read."""
    if isinstance(content, Items | Map):
        try:
            value_end(content.block, content.at, ReadAs.VALUE)
        except NOT_WALKED:
            return False
        return True
    # a list or dict comes from a block of strict DAG-CBOR
    return isfinite(content) if type(content) is float else not isinstance(content, BadLink)


def is_map(content: Cbor) -> bool:
    """Whether it is a map from texts to such values."""
    return content.has_text_keys() if isinstance(content, Map) else isinstance(content, dict)


def links_of_list(block: bytes) -> tuple[list[int], list[Link]]:
    """The places of the links in a list, and the CIDs; `block` is read as a witness node.

    Raises:
        NOT_WALKED: the node's decoder takes no such list.
    """
    if block[0] >> 5 != LIST:
        raise ValueError("no list")
    places: list[int] = []
    links: list[Link] = []
    count, at = head(block, 0, LIST)
    if count > len(block):
        raise ValueError("longer than the block")
    place = 0
    while place < count:
        run = ONE_BYTE_VALUES.match(block, at, at + count - place)
        if run is not None:
            at = run.end()
            place += at - run.start()
            continue
        if block[at] >> 5 == TAG:
            content, at = link_content(block, at, MAX_STEPS - 3)
            places.append(place)
            links.append(read_link(content))
        else:
            at = value_end(block, at, ReadAs.NODE, MAX_STEPS - 2)
        place += 1
    if at != len(block):
        raise ValueError("something follows the list")
    return places, links
