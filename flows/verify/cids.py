"""CIDs as the verifier reads them: from the bytes of links, from text, and back to text (FORMAT.md, CIDs and blocks)."""

from base64 import b32decode, b32encode
from collections.abc import Iterator

_CBOR_SHA256 = b"\x01\x71\x12\x20"
_CID_V0 = b"\x12\x20"
_JOSE_SHA256 = b"\x01\x85\x01\x12\x20"
_DIGEST_BYTES = 32
_CBOR_BYTES = len(_CBOR_SHA256) + _DIGEST_BYTES
_JOSE_BYTES = len(_JOSE_SHA256) + _DIGEST_BYTES
_MAX_DIGEST_BYTES = 64
"""The node's CID type has no room for a longer digest."""
_MAX_VARINT_BYTES = 9
_MORE_BYTES = 0x80
_ALPHABETS = {
    "z": "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    "k": "0123456789abcdefghijklmnopqrstuvwxyz",
    "f": "0123456789abcdef",
}
"""Multibase prefixes whose digits make up one number; no CID begins with a zero byte, so none is
lost in it."""


class Link(bytes):
    """The binary CID of a DAG-CBOR link: a type of its own, so that a byte string is never taken for one."""

    __slots__ = ()


def read_link(cid: bytes) -> Link:
    """The CID behind the leading zero of a link; like the node's decoder it lets bytes pass that follow a whole CID.

    Raises:
        ValueError: it does not begin with a CID.
    """
    # nearly all links, and this runs once for each of them
    if (len(cid) == _JOSE_BYTES and cid[:5] == _JOSE_SHA256) or (
        len(cid) == _CBOR_BYTES and cid[:4] == _CBOR_SHA256
    ):
        return Link(cid)
    if _length(cid) is None:
        raise ValueError("a link that is no CID")
    return Link(cid)


def is_cid(cid: bytes) -> bool:
    """Whether these bytes are exactly one CID, of version 1 or the older version 0 (a bare SHA-256 multihash)."""
    if cid[:4] == _CBOR_SHA256:
        return len(cid) == _CBOR_BYTES
    return _length(cid) == len(cid)


def _length(cid: bytes) -> int | None:
    """The length of the CID at the beginning of these bytes, None if there is none."""
    if cid[:2] == _CID_V0:
        length = len(_CID_V0) + _DIGEST_BYTES
        return length if len(cid) >= length else None
    numbers = iter(cid)
    version, codec, hash_code, digest = (_varint(numbers) for _ in range(4))
    left = len(bytes(numbers))
    if (
        version != 1
        or codec is None
        or hash_code is None
        or digest is None
        or digest > min(left, _MAX_DIGEST_BYTES)
    ):
        return None
    return len(cid) - left + digest


def _varint(numbers: Iterator[int]) -> int | None:
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = next(numbers, _MORE_BYTES)
        value |= (byte % _MORE_BYTES) << 7 * place
        if byte < _MORE_BYTES:
            # a longer form of a number than it needs is none
            return value if byte or not place else None
    return None


def cid_text(cid: bytes) -> str:
    """A binary CID as base32 text."""
    return "b" + b32encode(cid).decode().rstrip("=").lower()


def cid_of_text(text: str) -> bytes | None:
    """The binary CID of this base32, base58, base36 or base16 text, None if it is no CID."""
    base, digits = ("z", text) if text.startswith("Qm") else (text[:1], text[1:])
    try:
        cid = (
            b32decode(digits.upper() + "=" * (-len(digits) % 8))
            if base == "b"
            else _number(digits, _ALPHABETS[base])
        )
    except (KeyError, ValueError):
        return None
    return cid if is_cid(cid) else None


def _number(digits: str, alphabet: str) -> bytes:
    value = 0
    for digit in digits:
        value = value * len(alphabet) + alphabet.index(digit)
    return value.to_bytes((value.bit_length() + 7) // 8)
