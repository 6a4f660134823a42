"""Protected headers in the form that clients write: which capability each of them names."""

import numpy as np
import pyarrow as pa

from operators.encoding.columns import DIGEST, Digests, Mask, holds, pieces, spans
from operators.encoding.layouts import CBOR_CID

_BEGIN, _BEHIND, _END = b'{"alg":"EdDSA","cap":"ipfs://b', b'","kid":"', b'"}'
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_CHARACTERS = -(-(len(CBOR_CID) + DIGEST) * 8 // 5)
"""Characters of a CID in base32."""

_NO_CHARACTER = 0xFF
_VALUE = np.full(256, _NO_CHARACTER, dtype=np.uint8)
_VALUE[np.frombuffer(_ALPHABET, dtype=np.uint8)] = np.arange(32)

_IS_PLAIN = np.ones(256, dtype=np.bool_)
_IS_PLAIN[:0x20] = _IS_PLAIN[0x80:] = False
_IS_PLAIN[list(b'"\\')] = False
"""Which bytes stand for themselves in a text of JSON."""

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
    odd = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(~_IS_PLAIN[data], dtype=np.int32)])
    rows = rows[odd[start[rows] + key] == odd[end[rows] - len(_END)]]
    if not len(rows):
        return digest, usual
    text = pieces(data, start[rows] + cid, _CHARACTERS).view(np.uint8)
    value = _VALUE[text.reshape(-1, _CHARACTERS)]
    bits = np.unpackbits(value[:, :, None], axis=2)[:, :, 3:].reshape(len(rows), -1)
    size = (len(CBOR_CID) + DIGEST) * 8
    binary = np.packbits(bits[:, :size], axis=1)
    good = (value != _NO_CHARACTER).all(axis=1) & ~bits[:, size:].any(axis=1)
    good &= (binary[:, : len(CBOR_CID)] == np.frombuffer(CBOR_CID, dtype=np.uint8)).all(axis=1)
    usual[rows[good]] = True
    held = np.ascontiguousarray(binary[good, len(CBOR_CID) :])
    digest[rows[good]] = held.view(np.uint64)
    return digest, usual
