"""Envelopes: which payload block a signed event names, and by what it is signed (FORMAT.md)."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from operators.encoding.cid import Cid
from operators.encoding.dagcbor import LIST
from operators.encoding.typed import Value, given, read_value

PLAIN_ENVELOPE = b"\xa2\x67payload\x58\x24\x01\x71\x12\x20"
"""How an envelope without other keys begins; the 32 bytes of the payload's digest follow."""

MULTIHASH_AT = len(PLAIN_ENVELOPE) - 2
"""Where in a plain envelope the multihash of the payload begins, in bytes; it has 34."""

_NONE = pa.scalar(b"", pa.binary())
_LIST_OF_TWO = b"\x82"


class Envelope(NamedTuple):
    """What a node needs of an envelope."""

    payload: Cid | None
    """None: what it names is no CID."""
    signatures: int
    """How many signatures there are."""
    protected: bytes
    """The protected header of the first signature; empty: it has none."""


def read_envelope(root: Value) -> Envelope | None:
    """Read a root block as an envelope, None if it is none."""
    fields = root.fields(("payload", "signatures"), 2)
    if fields is None or len(fields) < 2:  # noqa: PLR2004 # both fields
        return None
    signatures = fields["signatures"].items()
    if not fields["payload"].is_bytes() or signatures is None:
        return None
    first, count = b"", 0
    for signature in signatures:
        protected = _read_signature(signature)
        if protected is None:
            return None
        first, count = first if count else protected, count + 1
    return Envelope(fields["payload"].cid(), count, first)


def _read_signature(signature: Value) -> bytes | None:
    """The protected header of a signature, empty for none; None: this is no signature."""
    fields = signature.fields(("header", "protected", "signature"), 3)
    if fields is None or "signature" not in fields or not fields["signature"].is_bytes():
        return None
    header, protected = given(fields.get("header")), given(fields.get("protected"))
    if header is not None and not header.is_any_map():
        return None
    return b"" if protected is None else protected.byte_string()


def payload_multihash(root: bytes) -> bytes | None:
    """The multihash of the payload that an envelope names; None: no envelope, or no CID in it."""
    envelope = read_value(root)
    fields = envelope.fields(("payload", "signatures"), 2) if envelope else None
    payload = fields.get("payload") if fields else None
    cid = payload.cid() if payload and payload.kind != LIST else None
    return cid.multihash if cid else None


def payload_multihashes(roots: pa.Array) -> pa.Array:
    """`payload_multihash` for many root blocks; empty in place of None."""
    plain = pc.starts_with(roots, PLAIN_ENVELOPE)
    named = pc.if_else(plain, pc.binary_slice(roots, MULTIHASH_AT, MULTIHASH_AT + 34), _NONE)
    others = pc.indices_nonzero(pc.invert(plain))
    if not len(others):
        return named
    other = roots.take(others)
    may_name = pc.or_(pc.match_substring(other, b"payload"), pc.starts_with(other, _LIST_OF_TWO))
    rows = others.filter(may_name).to_pylist()
    if not rows:
        return named
    multihashes = named.to_pylist()
    for row in rows:
        multihashes[row] = payload_multihash(roots[row].as_py()) or b""
    return pa.array(multihashes, pa.binary())
