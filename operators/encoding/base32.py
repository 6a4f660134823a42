"""CIDs as text and base32 as bytes, a whole column at once."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.encoding.cid import cid_text
from operators.encoding.columns import DIGEST, Bytes, Mask
from operators.encoding.layouts import CBOR_CID, JOSE_CID

ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
"""The digits of multibase `b`, which is base32 in lower case without padding."""

_NO_DIGIT = 0xFF
_VALUE = np.full(256, _NO_DIGIT, np.uint8)
_VALUE[ALPHABET] = np.arange(len(ALPHABET))
"""What each byte stands for as a digit."""

GROUP_BYTES, GROUP_DIGITS, DIGIT_BITS = 5, 8, 5
"""Five bytes make eight digits of five bits each."""


def cid_texts(column: pa.Array) -> pa.Array:
    """The CIDs of a binary column as text, as `cid_text` gives it; null stays null."""
    is_other = np.ones(len(column), bool)
    rows, texts = [], []
    for start in (CBOR_CID, JOSE_CID):
        length = len(start) + DIGEST
        is_usual = pc.and_(
            pc.equal(pc.binary_length(column), length), pc.starts_with(column, start)
        )
        found = np.flatnonzero(is_usual.fill_null(False).to_numpy(zero_copy_only=False))
        is_other[found] = False
        rows.append(found)
        texts.append(_encoded(column.take(pa.array(found)), length))
    others = np.flatnonzero(is_other)
    values = column.take(pa.array(others)).to_pylist()
    texts.append(pa.array([value and cid_text(value) for value in values], pa.string()))
    place = np.argsort(np.concatenate([*rows, others]))
    return pa.concat_arrays(texts).take(pa.array(place))


def _encoded(column: pa.Array, length: int) -> pa.Array:
    """The text of values that all have this length."""
    count = len(column)
    if not count:
        return pa.array([], pa.string())
    groups, digits = -(-length // GROUP_BYTES), -(-8 * length // DIGIT_BITS)
    padded = np.zeros((count, groups * GROUP_BYTES), np.uint64)
    padded[:, :length] = np.frombuffer(column.buffers()[2], np.uint8)[: count * length].reshape(
        count, length
    )
    in_groups = padded.reshape(count, groups, GROUP_BYTES)
    number = np.zeros((count, groups), np.uint64)
    for byte in range(GROUP_BYTES):
        number = number << np.uint64(8) | in_groups[:, :, byte]
    text = np.empty((count, groups, GROUP_DIGITS), np.uint8)
    for digit in range(GROUP_DIGITS):
        shift = np.uint64(DIGIT_BITS * (GROUP_DIGITS - 1 - digit))
        text[:, :, digit] = ALPHABET[(number >> shift & np.uint64(31)).astype(np.uint8)]
    whole = np.full((count, 1 + digits), ord("b"), np.uint8)
    whole[:, 1:] = text.reshape(count, groups * GROUP_DIGITS)[:, :digits]
    offsets = np.arange(count + 1, dtype=np.int32) * (1 + digits)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(whole.tobytes()))


def decoded(texts: Bytes) -> tuple[Bytes, Mask]:
    """The bytes that n texts of one length stand for, and which of the texts are base32.

    The bytes of the others have no meaning. Digits that the last group lacks count as zeros.

    Args:
        texts: of shape (n, digits), without the `b` in front.
    """
    count, digits = texts.shape
    groups = -(-digits // GROUP_DIGITS)
    value = np.zeros((count, groups * GROUP_DIGITS), np.uint8)
    value[:, :digits] = _VALUE[texts]
    each = np.ascontiguousarray(value.reshape(-1, GROUP_DIGITS).T)
    made = np.empty((GROUP_BYTES, count * groups), np.uint8)
    made[0] = each[0] << 3 | each[1] >> 2
    made[1] = each[1] << 6 | each[2] << 1 | each[3] >> 4
    made[2] = each[3] << 4 | each[4] >> 1
    made[3] = each[4] << 7 | each[5] << 2 | each[6] >> 3
    made[4] = each[6] << 5 | each[7]
    binary = np.ascontiguousarray(made.T).reshape(count, groups * GROUP_BYTES)
    return binary, (value != _NO_DIGIT).all(axis=1)
