"""Protected headers in the form that clients write: which capability each of them names."""

import numpy as np
import pyarrow as pa

from operators.encoding.columns import DIGEST, Bytes, Digests, Mask, holds, pieces, spans
from operators.encoding.layouts import CBOR_CID

_BEGIN, _BEHIND, _END = b'{"alg":"EdDSA","cap":"ipfs://b', b'","kid":"', b'"}'
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_CHARACTERS = -(-(len(CBOR_CID) + DIGEST) * 8 // 5)
"""Characters of a CID in base32."""

_GROUP, _GROUP_BYTES = 8, 5
"""Characters of base32 that make whole bytes together, and how many."""

_NO_CHARACTER = 0xFF
_VALUE = np.full(256, _NO_CHARACTER, dtype=np.uint8)
_VALUE[np.frombuffer(_ALPHABET, dtype=np.uint8)] = np.arange(32)

_BLANK, _NO_ASCII, _QUOTE, _ESCAPE = np.frombuffer(b' \x80"\\', dtype=np.uint8)
"""Of the bytes from the first up to the second all but the last two stand for themselves in a text
of JSON."""

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
    # below the blank the difference wraps around to a large number
    odd = data - _BLANK >= _NO_ASCII - _BLANK
    odd_at = np.flatnonzero(odd | (data == _QUOTE) | (data == _ESCAPE))
    key_start, key_end = start[rows] + key, end[rows] - len(_END)
    rows = rows[np.searchsorted(odd_at, key_start) == np.searchsorted(odd_at, key_end)]
    if not len(rows):
        return digest, usual
    text = pieces(data, start[rows] + cid, _CHARACTERS).view(np.uint8).reshape(-1, _CHARACTERS)
    value = _VALUE[text]
    binary = _from_base32(value)
    held = binary[:, len(CBOR_CID) : len(CBOR_CID) + DIGEST]
    good = (value != _NO_CHARACTER).all(axis=1) & ~binary[:, len(CBOR_CID) + DIGEST :].any(axis=1)
    good &= (binary[:, : len(CBOR_CID)] == np.frombuffer(CBOR_CID, dtype=np.uint8)).all(axis=1)
    usual[rows[good]] = True
    digest[rows[good]] = np.ascontiguousarray(held[good]).view(np.uint64)
    return digest, usual


def _from_base32(value: Bytes) -> Bytes:
    """The bytes that n texts of base32 stand for, by the values of their characters.

    Characters that are missing in the last group count as zeros.
    """
    texts, characters = value.shape
    groups = -(-characters // _GROUP)
    padded = np.zeros((texts, groups * _GROUP), dtype=np.uint8)
    padded[:, :characters] = value
    each = np.ascontiguousarray(padded.reshape(-1, _GROUP).T)
    made = np.empty((_GROUP_BYTES, texts * groups), dtype=np.uint8)
    made[0] = each[0] << 3 | each[1] >> 2
    made[1] = each[1] << 6 | each[2] << 1 | each[3] >> 4
    made[2] = each[3] << 4 | each[4] >> 1
    made[3] = each[4] << 7 | each[5] << 2 | each[6] >> 3
    made[4] = each[6] << 5 | each[7]
    return np.ascontiguousarray(made.T).reshape(texts, groups * _GROUP_BYTES)
