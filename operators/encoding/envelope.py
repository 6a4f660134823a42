"""Envelopes: which payload block a signed event names, and by what it is signed (FORMAT.md)."""

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor

from operators.encoding.cid import Cid, read_cid
from operators.encoding.typed import Value, is_none

PLAIN_ENVELOPE = b"\xa2\x67payload\x58\x24\x01\x71\x12\x20"
"""How an envelope without other keys begins; the 32 bytes of the payload's digest follow."""

MULTIHASH_AT = len(PLAIN_ENVELOPE) - 2
"""Where in a plain envelope the multihash of the payload begins, in bytes; it has 34."""

_NONE = pa.scalar(b"", pa.binary())
_LIST_OF_TWO = b"\x82"


class Envelope(NamedTuple):
    """What a node needs of an envelope."""

    payload: Cid | None
    """None: no CID."""
    signatures: int
    """How many there are."""
    protected: bytes
    """The protected header of the first; empty: none."""


def read_envelope(root: bytes, content: Any) -> Envelope | None:
    """Read a decoded root block as an envelope, None if it is none."""
    fields = Value(content, root).fields(("payload", "signatures"), 2)
    if fields is None or len(fields) < 2:  # noqa: PLR2004 # both fields
        return None
    signatures = fields["signatures"].items()
    if not fields["payload"].is_bytes() or signatures is None:
        return None
    protected = [_read_signature(signature) for signature in signatures]
    if any(header is None for header in protected):
        return None
    first = protected[0] if protected else None
    return Envelope(read_cid(fields["payload"].content), len(signatures), first or b"")


def _read_signature(signature: Value) -> bytes | None:
    """The protected header of a signature, empty for none; None: this is no signature."""
    fields = signature.fields(("header", "protected", "signature"), 3)
    if fields is None or "signature" not in fields or not fields["signature"].is_bytes():
        return None
    header, protected = fields.get("header"), fields.get("protected")
    if header is not None and not (is_none(header) or isinstance(header.content, dict)):
        return None
    if protected is None or protected.content is None:
        return b""
    content: bytes = protected.content
    return content if protected.is_bytes() else None


def payload_multihash(root: bytes) -> bytes | None:
    """The multihash of the payload that an envelope names; None: no envelope, or no CID in it."""
    try:
        content = decode_dag_cbor(root)
    except (ValueError, RecursionError):
        return None
    fields = Value(content, root).fields(("payload", "signatures"), 2)
    payload = fields.get("payload") if fields else None
    cid = payload.cid() if payload and isinstance(payload.content, bytes) else None
    return cid.multihash if cid else None


def payload_multihashes(roots: pa.Array) -> pa.Array:
    """`payload_multihash` for many root blocks; empty in place of None."""
    plain = pc.starts_with(roots, PLAIN_ENVELOPE)
    named = pc.if_else(plain, pc.binary_slice(roots, MULTIHASH_AT, MULTIHASH_AT + 34), _NONE)
    by_position = pc.starts_with(roots, _LIST_OF_TWO)
    other = pc.and_not(pc.or_(pc.match_substring(roots, b"payload"), by_position), plain)
    rows = pc.indices_nonzero(other).to_pylist()
    if not rows:
        return named
    multihashes = named.to_pylist()
    for row in rows:
        multihashes[row] = payload_multihash(roots[row].as_py()) or b""
    return pa.array(multihashes, pa.binary())
