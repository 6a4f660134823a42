"""Protected headers: the capability that a signature names, read as a node reads it.

A node reads the header as JSON into an object with one optional text, `cap`, and takes any failure
for no capability. It looks at the rest of the header only as far as it must to skip it: numbers of
any size, any depth, and texts that are no UTF-8 are skipped. Python's own decoder refuses each of
these, and takes NaN, other encodings than UTF-8 and a key twice, which a node refuses.
"""

import json
import re

_TEXT = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_TOKEN = re.compile(rb"[ \t\n\r]*+(" + _TEXT + rb"|" + _NUMBER + rb"|true|false|null|[\[\]{},:])")
_SPACE = re.compile(rb"[ \t\n\r]*+")
_CLOSED_BY = {b"[": b"]", b"{": b"}"}
_NO_VALUE = (b"]", b"}", b",", b":")


class _UnreadableError(Exception):
    """A node can't read this header."""


def read_cap(protected: bytes) -> str | None:
    """The text `cap` of a protected header, None if a node reads none."""
    try:
        return _HeaderReader(protected).read()
    except _UnreadableError:
        return None


class _HeaderReader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def read(self) -> str | None:
        begin = self._next()
        if begin == b"{":
            cap = self._read_object()
        elif begin == b"[":
            # the fields of an object by their position
            cap = _value(self._next())
            self._expect(b"]")
        else:
            raise _UnreadableError
        if _SPACE.fullmatch(self._content, self._at) is None:
            raise _UnreadableError
        return cap

    def _read_object(self) -> str | None:
        caps: list[str | None] = []
        token = self._next()
        while token != b"}":
            name = _text(token)
            self._expect(b":")
            if name == "cap":
                caps.append(_value(self._next()))
            else:
                self._skip()
            token = self._next()
            if token == b",":
                token = self._next()
                _text(token)
            elif token != b"}":
                raise _UnreadableError
        if len(caps) > 1:
            raise _UnreadableError
        return caps[0] if caps else None

    def _skip(self) -> None:
        """Skip a value, without recursion."""
        open_ones: list[bytes] = []
        token = self._next()
        while True:
            if token in _NO_VALUE:
                raise _UnreadableError
            if token in _CLOSED_BY:
                open_ones.append(token)
                following = self._next()
                if following != _CLOSED_BY[token]:
                    token = self._behind_key(following) if token == b"{" else following
                    continue
                open_ones.pop()
            # after a value
            while open_ones and (following := self._next()) == _CLOSED_BY[open_ones[-1]]:
                open_ones.pop()
            if not open_ones:
                return
            if following != b",":
                raise _UnreadableError
            token = self._next()
            if open_ones[-1] == b"{":
                token = self._behind_key(token)

    def _behind_key(self, key: bytes) -> bytes:
        if not key.startswith(b'"'):
            raise _UnreadableError
        self._expect(b":")
        return self._next()

    def _next(self) -> bytes:
        found = _TOKEN.match(self._content, self._at)
        if found is None:
            raise _UnreadableError
        self._at = found.end()
        return found.group(1)

    def _expect(self, token: bytes) -> None:
        if self._next() != token:
            raise _UnreadableError


def _value(token: bytes) -> str | None:
    return None if token == b"null" else _text(token)


def _text(token: bytes) -> str:
    if not token.startswith(b'"'):
        raise _UnreadableError
    try:
        text: str = json.loads(token.decode())
        # half of a pair of escapes is no character
        text.encode()
    except UnicodeError as cause:
        raise _UnreadableError from cause
    return text
