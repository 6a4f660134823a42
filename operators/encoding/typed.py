"""Reads blocks into the types of a node's fields, as laxly as a node does.

A node takes a link and a byte string for a CID, and for a byte string only that. A map with fixed
fields may be a list of them by position, and a text may be bytes in UTF-8. Values are read from the
bytes of their block, so that fields which nobody asks for take neither time nor memory.
"""

from collections.abc import Iterator
from typing import Final

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import (
    BYTES,
    FALSE,
    LIST,
    MAP,
    NULL,
    TAG,
    TEXT,
    TRUE,
    UNSIGNED,
    head,
    link_at,
    skip,
)
from operators.encoding.readable import Reading, read, value_end

_LARGEST_BYTE = 255
_TEXT, _LONG_TEXT = 0x60, 0x78
"""The heads of texts whose length is in the head: from the first on, below the second."""
_MOST_FIELDS = 8
"""The most fields of a map, any of which may be named by its number."""

_NAMES = {
    name.encode(): name
    for name in (
        *("id", "prev", "proof", "path", "payload", "signatures", "header", "data"),
        *("protected", "signature", "controllers", "sep", "model", "shouldIndex", "unique"),
        *("context", "modelVersion", "chainId", "root", "txHash", "txType", "h", "p", "s", "t"),
        *("m", "aud", "domain", "iat", "iss", "nonce", "version", "exp", "nbf", "requestId"),
        *("resources", "statement"),
    )
}
"""All fields that a node reads in any block."""


class Value:
    """A value that a node can read, and where in its block it stands."""

    __slots__ = ("_entries", "at", "block", "is_strict")

    def __init__(self, block: bytes, at: int = 0, *, is_strict: bool = False) -> None:
        self.block: Final = block
        self.at: Final = at
        self.is_strict: Final = is_strict
        """Whether it is known that a node can encode it anew."""
        self._entries: _MapEntries | None = None

    @property
    def kind(self) -> int:
        """Its major type."""
        return self.block[self.at] >> 5

    def is_null(self) -> bool:
        """Whether it is null."""
        return self.block[self.at] == NULL

    def fields(self, names: tuple[str, ...], fewest: int) -> "dict[str, Value] | None":
        """The fields of a map, or of a list that holds at least so many of them by position."""
        if self.kind == MAP:
            if self._entries is None:
                self._entries = _MapEntries(self.block, self.at)
            found = self._entries.named(names)
            if found is None:
                return None
            return {name: self._inner(at) for name, at in found.items()}
        if self.kind != LIST:
            return None
        _, count, _ = head(self.block, self.at)
        if not fewest <= count <= len(names):
            return None
        return dict(zip(names, self._items(), strict=False))

    def items(self) -> "Iterator[Value] | None":
        """The items of a list."""
        return self._items() if self.kind == LIST else None

    def _items(self) -> "Iterator[Value]":
        _, count, at = head(self.block, self.at)
        for _ in range(count):
            yield self._inner(at)
            at = skip(self.block, at)

    def cid(self) -> Cid | None:
        """A CID: a link, bytes, or a list of numbers."""
        if self.kind == TAG:
            return read_cid(link_at(self.block, self.at) or b"")
        if self.kind == LIST:
            numbers = bytearray()
            for item in self._items():
                major, number, _ = head(self.block, item.at)
                if major != UNSIGNED or number > _LARGEST_BYTE:
                    return None
                numbers.append(number)
            return read_cid(bytes(numbers))
        content = self.byte_string()
        return None if content is None else read_cid(content)

    def byte_string(self) -> bytes | None:
        """A byte string, and no link."""
        return self._string() if self.kind == BYTES else None

    def is_bytes(self) -> bool:
        """Whether it is a byte string, and no link."""
        return self.kind == BYTES

    def text(self) -> str | None:
        """A text, from bytes in UTF-8 too."""
        if self.kind not in {BYTES, TEXT}:
            return None
        try:
            return self._string().decode()
        except UnicodeError:
            return None

    def is_text(self) -> bool:
        """Whether it is a text, or bytes in UTF-8."""
        return self.text() is not None

    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return self.block[self.at] in {FALSE, TRUE}

    def is_texts(self) -> bool:
        """Whether it is a list of texts."""
        return self.kind == LIST and all(item.is_text() for item in self._items())

    def is_cid(self) -> bool:
        """Whether it is a CID."""
        return self.cid() is not None

    def is_any(self) -> bool:
        """Whether a node can keep it: it encodes such fields anew."""
        return self.is_strict or value_end(self.block, self.at) is not None

    def is_any_map(self) -> bool:
        """Whether it is a map of such values."""
        return self.kind == MAP and self.is_any()

    def _inner(self, at: int) -> "Value":
        return Value(self.block, at, is_strict=self.is_strict)

    def _string(self) -> bytes:
        _, length, at = head(self.block, self.at)
        return self.block[at : at + length]


class _MapEntries:
    """Where in a map the values of its fields are; a key that is a number stands for a place."""

    def __init__(self, block: bytes, at: int) -> None:
        self._block = block
        self._at: dict[str | int, int] = {}
        self._repeated: set[str | int] = set()
        self._has_numbers = self._is_odd = False
        """Whether a key is a number, or neither that nor text nor bytes: no field's."""
        _, count, at = head(block, at)
        for _ in range(count):
            if _TEXT <= block[at] < _LONG_TEXT:
                end = at + 1 + block[at] - _TEXT
                key: str | int | None = _NAMES.get(block[at + 1 : end])
                at = end
            else:
                key = self._key(at)
                at = skip(block, at)
            if key is not None and self._at.setdefault(key, at) != at:
                self._repeated.add(key)
            at = skip(block, at)

    def _key(self, at: int) -> str | int | None:
        """The key at `at`, None if no field has it."""
        kind, argument, at = head(self._block, at)
        if kind == UNSIGNED:
            self._has_numbers = True
            return argument if argument < _MOST_FIELDS else None
        if kind in {BYTES, TEXT}:
            return _NAMES.get(self._block[at : at + argument])
        self._is_odd = True
        return None

    def named(self, names: tuple[str, ...]) -> dict[str, int] | None:
        """Where in the block each of these fields is that the map has; None: a node can't know."""
        if self._is_odd or self._repeated or self._has_numbers:
            return self._named_oddly(names)
        return {name: self._at[name] for name in names if name in self._at}

    def _named_oddly(self, names: tuple[str, ...]) -> dict[str, int] | None:
        found: dict[str, int] = {}
        for place, name in enumerate(names):
            keys = [key for key in (name, place) if key in self._at]
            if len(keys) > 1 or self._repeated.intersection(keys):
                return None
            if keys:
                found[name] = self._at[keys[0]]
        return None if self._is_odd else found


def read_value(block: bytes) -> Value | None:
    """A root or payload block, None if a node can't read it."""
    reading = read(block)
    if reading is Reading.NOTHING:
        return None
    return Value(block, is_strict=reading is Reading.STRICT)


def given(value: Value | None) -> Value | None:
    """The value of a field, None if it is absent or null."""
    return None if value is None or value.is_null() else value
