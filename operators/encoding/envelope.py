"""Envelopes: which payload block a signed event names (FORMAT.md, The four kinds of event)."""

import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor

from operators.encoding.cid import multihash

PLAIN_ENVELOPE = b"\xa2\x67payload\x58\x24\x01\x71\x12\x20"
"""How an envelope without other keys begins; the 32 bytes of the payload's digest follow."""

MULTIHASH_AT = len(PLAIN_ENVELOPE) - 2
"""Where in a plain envelope the multihash of the payload begins, in bytes; it has 34."""

_NONE = pa.scalar(b"", pa.binary())


def payload_multihash(root: bytes) -> bytes | None:
    """The multihash of the payload that an envelope names; None: no envelope, or no CID in it."""
    try:
        fields = decode_dag_cbor(root)
    except (ValueError, RecursionError):
        return None
    cid = fields.get("payload") if isinstance(fields, dict) else None
    return multihash(cid) if isinstance(cid, bytes) else None


def payload_multihashes(roots: pa.Array) -> pa.Array:
    """`payload_multihash` for many root blocks; empty in place of None."""
    plain = pc.starts_with(roots, PLAIN_ENVELOPE)
    named = pc.if_else(plain, pc.binary_slice(roots, MULTIHASH_AT, MULTIHASH_AT + 34), _NONE)
    other = pc.and_not(pc.match_substring(roots, b"payload"), plain)
    rows = pc.indices_nonzero(other).to_pylist()
    if not rows:
        return named
    multihashes = named.to_pylist()
    for row in rows:
        multihashes[row] = payload_multihash(roots[row].as_py()) or b""
    return pa.array(multihashes, pa.binary())
