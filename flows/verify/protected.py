"""The capability that a protected header names, read as the node reads it: by serde_json 1.0.

The node reads one field of the header, `cap`, and skips all others: they must have the form of
JSON, but need not be UTF-8 and may be of any depth. `json.loads` reads all values, and so refuses
headers that the node takes.
"""

import re
from functools import lru_cache

from flows.verify.bases import bytes_of_text
from flows.verify.cids import cid_at_start, is_text_of_version_0

REMEMBERED_HEADERS = 32_768
"""How many headers are remembered: a session signs all its events with the same one."""

REMEMBERED_BYTES = 512
"""The most bytes of a header that is remembered; most have some 200. All together take at most
30 MB."""

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+)"', re.DOTALL)
_SCALAR = re.compile(
    rb"(?:null|true|false|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
)
_ESCAPE = re.compile(r"((?:\\u[0-9a-fA-F]{4})+)|\\(.)", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def capability_cid(protected: bytes) -> bytes | None:
    """The CID of the capability in the field `cap`, None if the node finds none there."""
    if len(protected) > REMEMBERED_BYTES:
        return _capability_cid(protected)
    return _remembered_cid(protected)


@lru_cache(REMEMBERED_HEADERS)
def _remembered_cid(protected: bytes) -> bytes | None:
    return _capability_cid(protected)


def _capability_cid(protected: bytes) -> bytes | None:
    # escapes may spell the name of the field, and a list has its fields by position
    if b"cap" not in protected and b"\\" not in protected and protected.lstrip()[:1] != b"[":
        return None
    try:
        text = _Header(protected).capability()
    except ValueError:
        return None
    if text is None or not text.startswith("ipfs://"):
        return None
    return _cid(text.removeprefix("ipfs://"))


def _cid(text: str) -> bytes | None:
    text = text.partition("/ipfs/")[2] if "/ipfs/" in text else text
    binary = bytes_of_text(f"z{text}" if is_text_of_version_0(text) else text)
    return None if binary is None else cid_at_start(binary)


class _Header:
    """The bytes of a header, and how far they are read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def capability(self) -> str | None:
        """The field `cap`, None if it is null or not there.

        Raises:
            ValueError: these bytes are no header.
        """
        found = self._of_list() if self._next_is(b"[") else self._of_object()
        self._space()
        if self._at != len(self._content):
            raise ValueError("something follows")
        return found

    def _of_list(self) -> str | None:
        self._take(b"[")
        found = self._optional_text()
        self._take(b"]")
        return found

    def _of_object(self) -> str | None:
        self._take(b"{")
        found: list[str | None] = []
        if self._next_is(b"}"):
            self._take(b"}")
            return None
        while True:
            name = self._text()
            self._take(b":")
            if name == "cap":
                found.append(self._optional_text())
            else:
                self._skip()
            if not self._next_is(b","):
                break
            self._take(b",")
        self._take(b"}")
        if len(found) > 1:
            raise ValueError("cap twice")
        return found[0] if found else None

    def _optional_text(self) -> str | None:
        self._space()
        if self._content.startswith(b"null", self._at):
            self._at += len(b"null")
            return None
        return self._text()

    def _text(self) -> str:
        return _ESCAPE.sub(_unescaped, self._match(_STRING)[1].decode())

    def _skip(self) -> None:
        """Skip a value of any depth."""
        open_lists: list[bool] = []
        while True:
            self._space()
            byte = self._content[self._at : self._at + 1]
            if byte in {b"[", b"{"}:
                self._at += 1
                is_list = byte == b"["
                if not self._next_is(b"]" if is_list else b"}"):
                    open_lists.append(is_list)
                    self._skip_name(is_list=is_list)
                    continue
                self._at += 1
            else:
                self._match(_STRING if byte == b'"' else _SCALAR)
            while open_lists and not self._next_is(b","):
                self._take(b"]" if open_lists.pop() else b"}")
            if not open_lists:
                return
            self._take(b",")
            self._skip_name(is_list=open_lists[-1])

    def _skip_name(self, *, is_list: bool) -> None:
        if not is_list:
            self._match(_STRING)
            self._take(b":")

    def _space(self) -> None:
        found = _SPACE.match(self._content, self._at)
        self._at = found.end() if found else self._at

    def _next_is(self, byte: bytes) -> bool:
        self._space()
        return self._content.startswith(byte, self._at)

    def _take(self, byte: bytes) -> None:
        if not self._next_is(byte):
            raise ValueError(f"no {byte!r}")
        self._at += 1

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        self._space()
        found = pattern.match(self._content, self._at)
        if found is None:
            raise ValueError("no JSON")
        self._at = found.end()
        return found


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return _SHORT_ESCAPES.get(escape[2], escape[2])
    units = bytes.fromhex(escape[1].replace("\\u", ""))
    # half a pair of surrogates is an error here as it is for the node
    return units.decode("utf-16-be")
