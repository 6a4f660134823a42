"""CIDs as the verifier reads them, in bytes and as text (FORMAT.md, CIDs and blocks)."""

from base64 import b32encode

_CBOR_SHA256 = b"\x01\x71\x12\x20"
_CID_V0 = b"\x12\x20"
_JOSE_SHA256 = b"\x01\x85\x01\x12\x20"
_DIGEST_BYTES = 32
_CBOR_BYTES = len(_CBOR_SHA256) + _DIGEST_BYTES
_JOSE_BYTES = len(_JOSE_SHA256) + _DIGEST_BYTES
_V0_TEXT_LENGTH = 46
_MAX_DIGEST_BYTES = 64
"""The node reads no CID with a longer digest."""

_MAX_VARINT_BYTES = 10
_MAX_NUMBER = (1 << 64) - 1
_MORE_BYTES = 0x80


class Link(bytes):
    """The binary CID of a DAG-CBOR link: a type of its own, unlike a byte string."""

    __slots__ = ()


def read_link(content: bytes) -> Link:
    """The CID after the leading zero of a link; what follows it is cut, as the node cuts it.

    Raises:
        ValueError: it does not begin with a CID.
    """
    # nearly all links are in these two forms, and this runs once for each link
    if (len(content) == _JOSE_BYTES and content[:5] == _JOSE_SHA256) or (
        len(content) == _CBOR_BYTES and content[:4] == _CBOR_SHA256
    ):
        return Link(content)
    cid = cid_at_start(content)
    if cid is None:
        raise ValueError("a link that is no CID")
    return Link(cid)


def cid_at_start(content: bytes) -> bytes | None:
    """The CID with which these bytes begin, None if they begin with none.

    It has version 1, or the older version 0: a SHA-256 multihash alone.
    """
    if len(content) == _CBOR_BYTES and content[:4] == _CBOR_SHA256:
        return content
    if content[:2] == _CID_V0:
        end = len(_CID_V0) + _DIGEST_BYTES
        return content[:end] if len(content) >= end else None
    end = 0
    numbers = []
    for _ in ("version", "codec", "hash function", "digest bytes"):
        number, end = _varint(content, end)
        numbers.append(number)
    version, digest_bytes = numbers[0], numbers[3]
    end += digest_bytes
    is_cid = (
        version == 1
        and -1 not in numbers
        and digest_bytes <= _MAX_DIGEST_BYTES
        and end <= len(content)
    )
    return content[:end] if is_cid else None


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """A number, -1 if there is none, and where it ends."""
    value = 0
    for place, byte in enumerate(content[start : start + _MAX_VARINT_BYTES]):
        value |= (byte % _MORE_BYTES) << 7 * place
        if byte < _MORE_BYTES:
            # a number that takes more bytes than it needs is none
            is_number = (byte or not place) and value <= _MAX_NUMBER
            return (value, start + place + 1) if is_number else (-1, start)
    return -1, start


def multihash(cid: bytes) -> bytes:
    """The multihash in a CID; a CID of version 0 is nothing else."""
    if cid[:2] == _CID_V0:
        return cid
    return cid[_varint(cid, 1)[1] :]


def cid_text(cid: bytes) -> str:
    """A binary CID as base32 text."""
    return "b" + b32encode(cid).decode().rstrip("=").lower()


def is_text_of_version_0(text: str) -> bool:
    """Whether a text is a CID of version 0: base58 without the prefix of multibase."""
    return text.startswith("Qm") and len(text) == _V0_TEXT_LENGTH
