"""CIDs: binary in batches, text where people see them (FORMAT.md, CIDs and blocks)."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_cid, decode_multibase, encode_cid

from operators.encoding.multibase import decode_text

CBOR, JOSE = 0x71, 0x85
"""The codecs of nearly all blocks: dag-cbor and dag-jose."""

_CBOR, _JOSE = b"\x01\x71\x12\x20", b"\x01\x85\x01\x12\x20"
"""How nearly all CIDs begin, those of dag-cbor and dag-jose blocks by sha2-256; a digest of 32
bytes follows."""

_VERSION_0 = b"\x12\x20"
"""How a CID of version 0 begins, which is a multihash alone."""
_VERSION_0_BYTES = 34
_VERSION_0_TEXT = 46
"""Characters of such a CID as a text, which begins with `Qm`."""
_IN_A_PATH = "/ipfs/"
"""Where a text has this, the CID follows it."""

_TWO_BYTES = pa.scalar(b"\x80", pa.binary())
"""From this byte on a codec goes on in the next byte."""

_LONGEST = 1 << 30
"""The end of a slice, in bytes, beyond every CID: without an end Arrow's kernel fails ("Negative
buffer resize")."""

LONGEST_DIGEST = 64
"""The most bytes of a digest: a node reads no CID with a longer one."""

_VARINT_BYTES = 10
_LARGEST_NUMBER = (1 << 64) - 1


class Cid(NamedTuple):
    """A CID, read as a node reads it."""

    binary: bytes
    """The CID without the bytes that followed it."""
    codec: int | None
    """None: the CID is of version 0, by which a node finds no block."""
    multihash: bytes


def read_cid(binary: bytes) -> Cid | None:
    """The CID at the beginning of these bytes, None if there is none; what follows is ignored."""
    if binary.startswith(_CBOR) and len(binary) >= 36:  # noqa: PLR2004 # with its digest
        return Cid(binary[:36], CBOR, binary[2:36])
    if binary.startswith(_VERSION_0):
        cid = binary[:_VERSION_0_BYTES]
        return Cid(cid, None, cid) if len(cid) == _VERSION_0_BYTES else None
    version, at = read_varint(binary, 0)
    codec, start = read_varint(binary, at)
    end = _multihash_end(binary, start)
    if version != 1 or codec is None or end is None:
        return None
    return Cid(binary[:end], codec, binary[start:end])


def is_multihash(binary: bytes) -> bool:
    """Whether these bytes are one multihash that a node can read."""
    return _multihash_end(binary, 0) == len(binary)


def _multihash_end(binary: bytes, start: int) -> int | None:
    code, at = read_varint(binary, start)
    length, at = read_varint(binary, at)
    if code is None or length is None or length > LONGEST_DIGEST or at + length > len(binary):
        return None
    return at + length


def cid_text(cid: bytes) -> str:
    """A binary CIDv1 as base32 text (`bafy...`, `bagc...`); marked hex if it is no CID."""
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


def read_cid_text(text: str) -> Cid | None:
    """The CID that a node reads in a text, in any multibase; None if it reads none."""
    _, path, rest = text.partition(_IN_A_PATH)
    text = rest if path else text
    if len(text.encode()) < 2:  # noqa: PLR2004 # a base and a character
        return None
    is_version_0 = text.startswith("Qm") and len(text.encode()) == _VERSION_0_TEXT
    try:
        return read_cid(decode_text(f"z{text}" if is_version_0 else text))
    except ValueError:
        return None


def multihash(cid: bytes) -> bytes | None:
    """The multihash at the tail of a binary CIDv1, None if `cid` is none."""
    if cid.startswith(_CBOR):
        return cid[2:] if len(cid) == len(_CBOR) + 32 else None
    if cid.startswith(_JOSE):
        return cid[3:] if len(cid) == len(_JOSE) + 32 else None
    found = read_cid(cid)
    return found.multihash if found and found.codec is not None and found.binary == cid else None


def root_multihashes(cid: pa.Array) -> pa.Array:
    """The multihashes of many event CIDs: what follows the version and the codec."""
    long_codec = pc.greater_equal(pc.binary_slice(cid, 1, 2), _TWO_BYTES)
    usual = pc.if_else(
        long_codec, pc.binary_slice(cid, 3, _LONGEST), pc.binary_slice(cid, 2, _LONGEST)
    )
    longer = pc.and_(long_codec, pc.greater_equal(pc.binary_slice(cid, 2, 3), _TWO_BYTES))
    rows = pc.indices_nonzero(longer).to_pylist()
    if not rows:
        return usual
    multihashes = usual.to_pylist()
    for row in rows:
        multihashes[row] = multihash(cid[row].as_py()) or multihashes[row]
    return pa.array(multihashes, pa.binary())


def read_varint(encoded: bytes, at: int) -> tuple[int | None, int]:
    """The unsigned varint at `at` and the index after it.

    None if it does not end, is larger than 64 bits, or is longer than it needs to be.
    """
    number = 0
    for shift, byte in enumerate(encoded[at : at + _VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 # the continuation bit
            sound = (byte or not shift) and number <= _LARGEST_NUMBER
            return (number if sound else None), at + shift + 1
    return None, len(encoded)
