"""CIDs: binary in batches, text where people see them (CERAMIC.md, CIDs and blocks)."""

from libipld import decode_cid, decode_multibase, encode_cid


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
    version, at = _varint(cid, 0)
    if version != 1:
        return None
    _, start = _varint(cid, at)
    _, at = _varint(cid, start)
    length, at = _varint(cid, at)
    return cid[start:] if length is not None and at + length == len(cid) else None


def _varint(encoded: bytes, at: int) -> tuple[int | None, int]:
    """The unsigned varint at `at` and the index behind it; None if it does not end within the 9 bytes that multiformats allow."""
    number = 0
    for shift, byte in enumerate(encoded[at : at + 9]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 # the continuation bit
            return number, at + shift + 1
    return None, len(encoded)
