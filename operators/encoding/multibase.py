"""Multibase texts of any length, as `libipld` decodes them, but in seconds.

The digits of a base that is no power of two make up one number. Adding one digit after the other,
as a node does too, takes a quarter of an hour for the longest text that an event can have.
"""

import numpy as np
from libipld import decode_multibase

_LONG = 4096
"""The most characters that `libipld` decodes here: that takes a millisecond."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_BASE36 = f"0123456789{_LETTERS}"
_UPPER_58, _LOWER_58 = "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz"
_ALPHABETS = {
    "9": "0123456789",
    "k": _BASE36,
    "K": _BASE36,
    "z": f"123456789{_UPPER_58}{_LOWER_58}",
    "Z": f"123456789{_LOWER_58}{_UPPER_58}",
}
"""The digits of each base that is no power of two."""
_EITHER_CASE = frozenset("kK")
_TOGETHER = 10
"""Digits whose number has less than 64 bits."""
_NO_DIGIT = 255


def decode_text(text: str) -> bytes:
    """The bytes that a multibase text stands for.

    Raises:
        ValueError: it stands for none.
    """
    alphabet = _ALPHABETS.get(text[:1])
    if alphabet is None or len(text) <= _LONG:
        return decode_multibase(text)[1]
    places = _places(text[1:].encode("ascii"), alphabet, text[0] in _EITHER_CASE)
    zeros = int(np.argmax(places != 0)) if places.any() else len(places)
    number = _number(places[zeros:], len(alphabet))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)


def _places(digits: bytes, alphabet: str, either_case: bool) -> np.ndarray:
    table = np.full(256, _NO_DIGIT, np.uint8)
    for place, digit in enumerate(alphabet):
        table[ord(digit)] = place
        if either_case:
            table[ord(digit.upper())] = place
    places = table[np.frombuffer(digits, np.uint8)]
    if (places == _NO_DIGIT).any():
        raise ValueError("a character that is no digit")
    return places


def _number(places: np.ndarray, base: int) -> int:
    padded = np.zeros(-(-len(places) // _TOGETHER) * _TOGETHER, np.uint64)
    padded[len(padded) - len(places) :] = places
    columns = padded.reshape(-1, _TOGETHER)
    together = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        together = together * np.uint64(base) + column
    parts: list[int] = together.tolist()
    power = base**_TOGETHER
    while len(parts) > 1:
        if len(parts) % 2:
            parts.insert(0, 0)
        parts = [high * power + low for high, low in zip(parts[::2], parts[1::2], strict=True)]
        power *= power
    return parts[0] if parts else 0
