"""The names by which people know an event: CIDs, StreamIDs, CommitIDs and event ids."""

from libipld import decode_cid

from operators.encoding.cid import parse_cid

EVENT_ID_TYPE = 5
"""The number of an event id, where a StreamID has the number of its kind of stream."""

EVENT_ID_PARTS = 8 + 8 + 4
"""Bytes between the network and the CID: separator, controller, and the end of the init CID."""

FORMS = (
    "Give a CID (`bafy...`, `bagc...`, base36, hex), a StreamID or CommitID (`k...`), an event id "
    "in hex (`ce0105...`), `ipfs://` and a CID, or a blob as SQLite shows it (`X'...'`)."
)

_SCHEMES = ("ipfs://", "ceramic://", "/ipfs/", "/ceramic/")


def parse_event(text: str) -> bytes:
    """The binary CID of the event that a person names.

    A StreamID names the init event of its stream, a CommitID the event of its commit.

    Raises:
        ValueError: it is no such name.
    """
    name = text.strip()
    for scheme in _SCHEMES:
        name = name.removeprefix(scheme)
    if name[:2].upper() == "X'" and name.endswith("'"):
        name = name[2:-1]
    binary = _id_bytes(name)
    return parse_cid(name) if binary is None else _cid_in(binary)


def _id_bytes(name: str) -> bytes | None:
    """The bytes of a StreamID, CommitID or event id; None: it is something else."""
    try:
        binary = bytes.fromhex(name.removeprefix("0x"))
    except ValueError:
        if not name.startswith("k"):
            return None
        digits = name[1:]
        try:
            number = int(digits, 36)
        except ValueError:
            return None
        zeros = len(digits) - len(digits.lstrip("0"))
        binary = bytes(zeros) + number.to_bytes(-(-number.bit_length() // 8), "big")
    return binary if binary[:2] == b"\xce\x01" else None


def _cid_in(binary: bytes) -> bytes:
    kind, at = _varint(binary, 2)
    if kind == EVENT_ID_TYPE:
        _, at = _varint(binary, at)
        return _checked(binary[at + EVENT_ID_PARTS :])
    stream, rest = _first_cid(binary[at:])
    # a commit of 0 is the init event
    return _checked(stream if rest in {b"", b"\x00"} else rest)


def _first_cid(binary: bytes) -> tuple[bytes, bytes]:
    """The CID at the start of `binary`, and what follows it."""
    at = 0
    for _ in range(3):  # version, codec, hash function
        _, at = _varint(binary, at)
    length, at = _varint(binary, at)
    return binary[: at + length], binary[at + length :]


def _varint(binary: bytes, at: int) -> tuple[int, int]:
    """The unsigned varint at this place, and the place after it."""
    value = shift = 0
    while at < len(binary):
        value |= (binary[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not binary[at - 1] & 0x80:
            return value, at
    raise ValueError("it is cut short")


def _checked(cid: bytes) -> bytes:
    if not cid or decode_cid(cid)["version"] != 1:
        raise ValueError("it holds no CIDv1")
    return cid
