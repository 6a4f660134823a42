"""Protected headers in the form that clients write: which capability each of them names."""

import numpy as np
import pyarrow as pa

from operators.encoding.base32 import decoded
from operators.encoding.columns import DIGEST, Digests, Mask, holds, pieces, spans
from operators.encoding.layouts import CBOR_CID

_BEGIN, _BEHIND, _END = b'{"alg":"EdDSA","cap":"ipfs://b', b'","kid":"', b'"}'
_CHARACTERS = -(-(len(CBOR_CID) + DIGEST) * 8 // 5)
"""Characters of a CID in base32."""

_BLANK, _NO_ASCII, _QUOTE, _ESCAPE = np.frombuffer(b' \x80"\\', dtype=np.uint8)
"""In a text of JSON the bytes from the blank up to those that are not ASCII stand for themselves,
but for the quote and the escape."""

_ONE_BYTE = 0x58
"""The head of a byte string whose length takes one byte; that of others here takes two."""


def usual_capabilities(headers: pa.Array) -> tuple[Digests, Mask]:
    """The digests of the capabilities that n protected headers name, and which are usual.

    A header is an encoded byte string of a plain envelope. It is usual if it holds an algorithm, a
    capability by a dag-cbor CID in base32, and a key, in the bytes that clients write. The digests
    of the others have no meaning.
    """
    data, start, end = spans(headers)
    digest, usual = np.zeros((len(headers), 4), dtype=np.uint64), np.zeros(len(headers), np.bool_)
    if not len(headers):
        return digest, usual
    start = start + np.where(data[start] == _ONE_BYTE, 2, 3)
    cid = len(_BEGIN)
    key = cid + _CHARACTERS + len(_BEHIND)
    rows = np.flatnonzero(end - start >= key + len(_END))
    rows = rows[holds(data, start[rows], _BEGIN)]
    rows = rows[holds(data, start[rows] + cid + _CHARACTERS, _BEHIND)]
    rows = rows[holds(data, end[rows] - len(_END), _END)]
    # of a byte below the blank the difference is more than any that is allowed: it wraps around
    odd = data - _BLANK >= _NO_ASCII - _BLANK
    odd_at = np.flatnonzero(odd | (data == _QUOTE) | (data == _ESCAPE))
    key_start, key_end = start[rows] + key, end[rows] - len(_END)
    rows = rows[np.searchsorted(odd_at, key_start) == np.searchsorted(odd_at, key_end)]
    if not len(rows):
        return digest, usual
    text = pieces(data, start[rows] + cid, _CHARACTERS).view(np.uint8).reshape(-1, _CHARACTERS)
    binary, good = decoded(text)
    held = binary[:, len(CBOR_CID) : len(CBOR_CID) + DIGEST]
    good &= ~binary[:, len(CBOR_CID) + DIGEST :].any(axis=1)
    good &= (binary[:, : len(CBOR_CID)] == np.frombuffer(CBOR_CID, dtype=np.uint8)).all(axis=1)
    usual[rows[good]] = True
    digest[rows[good]] = np.ascontiguousarray(held[good]).view(np.uint64)
    return digest, usual
