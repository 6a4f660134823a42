"""Decoded values read into the types of a node's fields, as laxly as a node reads them.

The decoder returns plain bytes for a link and for a byte string. A node takes either for a CID, and
for a byte string only that; which it is, its place in the block tells. A map with fixed fields may
be a list of them by position, and a text may be bytes in UTF-8.
"""

from dataclasses import dataclass
from typing import Any, Self

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import is_link

_LARGEST_BYTE = 255


@dataclass(frozen=True, slots=True)
class Value:
    """A decoded value, and where in its block it stands."""

    content: Any
    block: bytes
    path: tuple[str | int, ...] = ()

    def fields(self, names: tuple[str, ...], fewest: int) -> "dict[str, Value] | None":
        """The fields of a map, or of a list that holds at least so many of them by position."""
        content = self.content
        if isinstance(content, dict):
            return {name: self._inner(name) for name in names if name in content}
        if isinstance(content, list) and fewest <= len(content) <= len(names):
            return {name: self._inner(index) for index, name in enumerate(names[: len(content)])}
        return None

    def items(self) -> "list[Value] | None":
        """The items of a list."""
        if not isinstance(self.content, list):
            return None
        return [self._inner(index) for index in range(len(self.content))]

    def cid(self) -> Cid | None:
        """A CID: a link, bytes, or a list of numbers."""
        content = self.content
        if isinstance(content, bytes):
            return read_cid(content)
        if isinstance(content, list) and all(map(_is_byte, content)):
            return read_cid(bytes(content))
        return None

    def is_bytes(self) -> bool:
        """Whether it is a byte string, and no link."""
        return isinstance(self.content, bytes) and not is_link(self.block, *self.path)

    def is_text(self) -> bool:
        """Whether it is a text, or bytes in UTF-8."""
        return self.text() is not None

    def text(self) -> str | None:
        """A text, from bytes in UTF-8 too."""
        if isinstance(self.content, str):
            return self.content
        if not isinstance(self.content, bytes):
            return None
        try:
            text = self.content.decode()
        except UnicodeError:
            return None
        return text if self.is_bytes() else None

    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return isinstance(self.content, bool)

    def is_texts(self) -> bool:
        """Whether it is a list of texts."""
        items = self.items()
        return items is not None and all(item.is_text() for item in items)

    def is_cid(self) -> bool:
        """Whether it is a CID."""
        return self.cid() is not None

    def _inner(self, step: str | int) -> Self:
        return type(self)(self.content[step], self.block, (*self.path, step))


def is_none(value: Value | None) -> bool:
    """Whether a field is absent or null."""
    return value is None or value.content is None


def _is_byte(number: object) -> bool:
    return type(number) is int and 0 <= number <= _LARGEST_BYTE
