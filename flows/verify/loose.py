"""A decoder that takes exactly what the node's takes, for blocks that are no strict DAG-CBOR.

Nodes decode with serde_ipld_dagcbor 0.6 into types that they derive with serde. It takes more than
DAG-CBOR allows, and what it takes depends on what a block is read as:

- `untagged`: roots and payloads. The whole block is made a value first, so that all of it counts.
  Links are looked into only where a field asks for one.
- `typed`: proofs and capabilities. Fields that nobody asks for are stepped over, and may hold any
  CBOR.
- `value`: witness nodes.

Each list, map and value counts as steps into the block, of which the decoder takes 256.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from struct import unpack_from
from typing import TypeAlias, TypeVar

from flows.verify.cids import Link, read_link

MAX_STEPS = 256

Value = TypeVar("Value")
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_LEAST_INTEGER = -(1 << 63)
_LINK_TAG = 42
_WITHOUT_LENGTH = 0x1F
_LENGTHS = {24: ">B", 25: ">H", 26: ">I", 27: ">Q"}
_CONSTANTS = {0xF4: False, 0xF5: True, 0xF6: None}
_NULL, _UNDEFINED, _BREAK = 0xF6, 0xF7, 0xFF
_FLOATS = {0xFA: ">f", 0xFB: ">d"}
_STEPPED_OVER = {0xF4: 0, 0xF5: 0, _NULL: 0, _UNDEFINED: 0, 0xF9: 2, 0xFA: 4, 0xFB: 8}
"""Values of the last kind that are stepped over, and the bytes that follow their first one."""


class BadLink(bytes):
    """The bytes of a link that is no CID: an error only where a field needs this link."""

    __slots__ = ()


Key: TypeAlias = str | bytes | int
Cbor: TypeAlias = "bool | int | float | str | bytes | list[Cbor] | dict[str, Cbor] | Map | None"
"""A decoded value; bytes that are `Link` or `BadLink` stood in a link."""


class Map(dict[Key, Cbor]):
    """A map by its keys. Bytes that are the UTF-8 of a text count as that text."""

    def __init__(self) -> None:
        super().__init__()
        self.repeated: set[Key] = set()
        """Keys that come several times."""
        self.has_odd_keys = False
        """Keys that are no text, bytes or number, and so can't name a field."""


class Reader:
    """The bytes of a block, how far they are read, and the steps that are left."""

    def __init__(self, block: bytes, *, is_untagged: bool = False) -> None:
        self._block = block
        self._at = 0
        self._steps = MAX_STEPS
        self._is_untagged = is_untagged

    def end(self) -> None:
        """Check that nothing follows.

        Raises:
            ValueError: something does.
        """
        if self._at != len(self._block):
            raise ValueError("something follows the value")

    def untagged_value(self) -> Cbor:
        """Read a value as for an untagged type, whatever this reader is for."""
        before, self._is_untagged = self._is_untagged, True
        found = self.value()
        self._is_untagged = before
        return found

    def value(self) -> Cbor:
        """Read any value that DAG-CBOR has.

        Raises:
            ValueError: there is none, or it is too deep.
        """
        self._step(1)
        byte = self._peek()
        kind = byte >> 5
        if byte & 0x1F == _WITHOUT_LENGTH:
            raise ValueError("no length")
        if kind in {_UNSIGNED, _NEGATIVE}:
            found: Cbor = self._integer()
        elif kind == _BYTES:
            found = self._string(_BYTES)
        elif kind == _TEXT:
            found = self.text()
        elif kind == _LIST:
            found = self.items(self.value)
        elif kind == _MAP:
            found = self._map()
        elif kind == _TAG:
            found = self._tagged()
        elif byte in _CONSTANTS:
            self._at += 1
            found = _CONSTANTS[byte]
        elif byte in _FLOATS:
            found = self._float(byte)
        else:
            raise ValueError("a value that is none of DAG-CBOR")
        self._step(-1)
        return found

    def text(self) -> str:
        """Read a text, which may come in parts."""
        return self._string(_TEXT).decode()

    def link(self) -> Link:
        """Read a link."""
        found = self._tagged()
        if not isinstance(found, Link):
            raise ValueError("a link that is no CID")  # noqa: TRY004 # of the bytes, not of a type
        return found

    def optional(self, read: Callable[[], Value]) -> Value | None:
        """Read null, or what `read` reads."""
        if self._peek() == _NULL:
            self._at += 1
            return None
        self._step(1)
        found = read()
        self._step(-1)
        return found

    def variant(self) -> str:
        """Read one of several names."""
        self._step(1)
        byte = self._peek()
        if byte == _MAP << 5 | 1:
            # the value of a name in a map is not read: what follows must then fit by chance
            self._at += 1
        elif byte >> 5 != _TEXT:
            raise ValueError("no name")
        found = self.text()
        self._step(-1)
        return found

    def items(self, read: Callable[[], Value]) -> list[Value]:
        """Read a list of what `read` reads."""
        self._step(1)
        found = [read() for _ in range(self._length(_LIST))]
        self._step(-1)
        return found

    def fields(self, readers: Mapping[str, Callable[[], Cbor]]) -> dict[str, Cbor]:
        """Read a map with these fields; any others are stepped over."""
        self._step(1)
        found: dict[str, Cbor] = {}
        for _ in range(self._length(_MAP)):
            name = self.text()
            if name in found:
                raise ValueError("a field twice")
            if name in readers:
                found[name] = readers[name]()
            else:
                self._step_over()
        self._step(-1)
        return found

    def _map(self) -> Map:
        self._step(1)
        found = Map()
        for _ in range(self._length(_MAP)):
            key = self._key()
            value = self.value()
            if key is None:
                found.has_odd_keys = True
            elif key in found:
                found.repeated.add(key)
            else:
                found[key] = value
        self._step(-1)
        return found

    def _key(self) -> Key | None:
        """Read a key; None: it can't name a field."""
        if not self._is_untagged:
            return self.text()
        key = self.value()
        if type(key) is bytes:
            try:
                return key.decode()
            except ValueError:
                return key
        if type(key) is int:
            return None if key < 0 else key
        return key if type(key) is str else None

    def _integer(self) -> int:
        kind = self._peek() >> 5
        number = self._head(kind)
        value = -1 - number if kind == _NEGATIVE else number
        if self._is_untagged and value < _LEAST_INTEGER:
            raise ValueError("an integer below -2^63")
        return value

    def _float(self, byte: int) -> float:
        layout = _FLOATS[byte]
        self._at += 1
        (found,) = unpack_from(layout, self._take(4 if layout == ">f" else 8))
        return float(found)

    def _tagged(self) -> Link | BadLink:
        if self._head(_TAG) != _LINK_TAG:
            raise ValueError("a tag other than 42")
        if self._peek() >> 5 != _BYTES:
            raise ValueError("a link that is no byte string")
        content = self._string(_BYTES)
        if len(content) < 2 or content[0]:  # noqa: PLR2004 # a zero and something
            raise ValueError("a link without its zero")
        try:
            return read_link(content[1:])
        except ValueError:
            if not self._is_untagged:
                raise
            return BadLink(content[1:])

    def _string(self, kind: int) -> bytes:
        if self._peek() != kind << 5 | _WITHOUT_LENGTH:
            return self._take(self._length(kind))
        self._at += 1
        parts = []
        while self._peek() != _BREAK:
            self._step(1)
            parts.append(self._string(kind))
            self._step(-1)
        self._at += 1
        return b"".join(parts)

    def _length(self, kind: int) -> int:
        length = self._head(kind)
        if length > len(self._block):
            # each item takes a byte at least
            raise ValueError("longer than the block")
        return length

    def _head(self, kind: int) -> int:
        # the node clears the bits of the kind that it expects and does not look for others, so
        # that it takes some values of another kind
        argument = self._peek() & ~(kind << 5)
        self._at += 1
        layout = _LENGTHS.get(argument)
        if layout is None:
            if argument > 23:  # noqa: PLR2004 # up to here it is the number itself
                raise ValueError("no length")
            return argument
        (found,) = unpack_from(layout, self._take(1 << argument - 24))
        return int(found)

    def _step_over(self) -> None:
        self._step(1)
        byte = self._peek()
        kind = byte >> 5
        is_open = byte & 0x1F == _WITHOUT_LENGTH
        if kind == _SIMPLE:
            if byte not in _STEPPED_OVER:
                raise ValueError("no value")
            self._at += 1
            self._take(_STEPPED_OVER[byte])
        elif kind in {_LIST, _MAP} or (is_open and kind in {_BYTES, _TEXT}):
            self._step_over_items(2 if kind == _MAP else 1, is_open=is_open)
        elif kind in {_BYTES, _TEXT}:
            self._take(self._head(kind))
        else:
            self._head(kind)
            if kind == _TAG:
                self._step_over()
        self._step(-1)

    def _step_over_items(self, values: int, *, is_open: bool) -> None:
        if not is_open:
            for _ in range(values * self._length(self._peek() >> 5)):
                self._step_over()
            return
        self._at += 1
        while self._peek() != _BREAK:
            for _ in range(values):
                self._step_over()
        self._at += 1

    def _step(self, by: int) -> None:
        self._steps -= by
        if self._steps < 0:
            raise ValueError(f"more than {MAX_STEPS} steps deep")

    def _peek(self) -> int:
        if self._at >= len(self._block):
            raise ValueError("cut off")
        return self._block[self._at]

    def _take(self, count: int) -> bytes:
        taken = self._block[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("cut off")
        self._at += count
        return taken


def is_value(content: Cbor) -> bool:
    """Whether the node can keep what its decoder has read, and encode it again."""
    if isinstance(content, dict):
        return is_map(content) and not (isinstance(content, Map) and content.repeated)
    if type(content) is list:
        return all(map(is_value, content))
    return isfinite(content) if type(content) is float else not isinstance(content, BadLink)


def is_map(content: Cbor) -> bool:
    """Whether it is a map of such values by texts."""
    if not isinstance(content, dict) or (isinstance(content, Map) and content.has_odd_keys):
        return False
    return {*map(type, content)} <= {str} and all(map(is_value, content.values()))
