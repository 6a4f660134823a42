"""CIDs as text, a whole column at once."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.encoding.cid import cid_text

ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
"""The digits of multibase `b`, which is base32 in lower case without padding."""

GROUP_BYTES, GROUP_DIGITS, DIGIT_BITS = 5, 8, 5
"""Five bytes make eight digits of five bits each."""

USUAL = (b"\x01\x71\x12\x20", b"\x01\x85\x01\x12\x20")
"""How the CIDs of nearly all events start: dag-cbor and dag-jose, each with sha2-256."""

DIGEST_BYTES = 32


def cid_texts(column: pa.Array) -> pa.Array:
    """The CIDs of a binary column as text, as `cid_text` gives it; null stays null."""
    is_other = np.ones(len(column), bool)
    rows, texts = [], []
    for start in USUAL:
        length = len(start) + DIGEST_BYTES
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
