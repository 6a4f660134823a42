"""CIDs: binary in batches, text where people see them (FORMAT.md, CIDs and blocks)."""

import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_cid, decode_multibase, encode_cid

_CBOR, _JOSE = b"\x01\x71\x12\x20", b"\x01\x85\x01\x12\x20"
"""How nearly all CIDs begin, those of dag-cbor and dag-jose blocks by sha2-256; a digest of 32
bytes follows."""

_TWO_BYTES = pa.scalar(b"\x80", pa.binary())
"""From this byte on a codec goes on in the next byte."""

_LONGEST = 1024
"""Bytes of a CID; Arrow's slice kernel fails without an end ("Negative buffer resize")."""


def cid_text(cid: bytes) -> str:
    """A binary CIDv1 as base32 text (`bafy...`, `bagc...`); hex, marked as such, if it is no CID."""
    try:
        return encode_cid(cid)
    except ValueError:
        return f"0x{cid.hex()}"


def parse_cid(text: str) -> bytes:
    """A CID given by a person, in base32, base36 or hex, as binary.

    Raises:
        ValueError: not a CIDv1 in one of these forms.
    """
    stripped = text.strip().removeprefix("0x").removeprefix("0X")
    try:
        binary = bytes.fromhex(stripped)
    except ValueError:
        binary = decode_multibase(text.strip())[1]
    if decode_cid(binary)["version"] != 1:
        raise ValueError("not a CIDv1")
    return binary


def multihash(cid: bytes) -> bytes | None:
    """The multihash at the tail of a binary CIDv1, None if `cid` is none: a version, codec, hash code, and a length that is right."""
    if cid.startswith(_CBOR):
        return cid[2:] if len(cid) == len(_CBOR) + 32 else None
    if cid.startswith(_JOSE):
        return cid[3:] if len(cid) == len(_JOSE) + 32 else None
    version, at = _varint(cid, 0)
    if version != 1:
        return None
    _, start = _varint(cid, at)
    _, at = _varint(cid, start)
    length, at = _varint(cid, at)
    return cid[start:] if length is not None and at + length == len(cid) else None


def root_multihashes(cid: pa.Array) -> pa.Array:
    """The multihashes of many event CIDs: what is behind the version and a codec of one byte or two."""
    long_codec = pc.greater_equal(pc.binary_slice(cid, 1, 2), _TWO_BYTES)
    return pc.if_else(
        long_codec, pc.binary_slice(cid, 3, _LONGEST), pc.binary_slice(cid, 2, _LONGEST)
    )


def _varint(encoded: bytes, at: int) -> tuple[int | None, int]:
    """The unsigned varint at `at` and the index behind it; None if it does not end within the 9 bytes that multiformats allow."""
    number = 0
    for shift, byte in enumerate(encoded[at : at + 9]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 # the continuation bit
            return number, at + shift + 1
    return None, len(encoded)
