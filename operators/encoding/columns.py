"""Bytes at computed places of an Arrow column, for all its rows at once."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Starts = NDArray[np.int64]
Digests = NDArray[np.uint64]
"""Digests of 32 bytes as four words each: the last axis has length 4."""

DIGEST = 32
"""Bytes of a digest."""

_WORD = 8
"""Bytes of a word."""


def spans(column: pa.Array) -> tuple[Bytes, Starts, Starts]:
    """The bytes under a column of n binary or string values, and where each begins and ends."""
    if not len(column):
        return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    _, offsets, values = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[
        column.offset : column.offset + len(column) + 1
    ].astype(np.int64)
    data = (
        np.frombuffer(values, dtype=np.uint8) if values is not None else np.empty(0, dtype=np.uint8)
    )
    return data, ends[:-1], ends[1:]


def gather(data: Bytes, starts: Starts, width: int) -> NDArray[np.void]:
    """The `width` bytes from each of n starts on, which must lie within `data`.

    They are items of one type, which compare as bytes do.
    """
    item = np.dtype(f"V{width}")
    return _windows(data, item)[starts] if len(starts) else np.empty(0, dtype=item)


def put(data: Bytes, starts: Starts, content: bytes) -> None:
    """Write these bytes at each of n places; they must lie within `data`."""
    item = np.dtype(f"V{len(content)}")
    _windows(data, item)[starts] = np.void(content)


def occurrences(data: Bytes, wanted: bytes) -> Starts:
    """Where these one, two, four or eight bytes begin."""
    number = np.frombuffer(wanted, dtype=f"u{len(wanted)}")
    return np.flatnonzero(_windows(data, number.dtype) == number)


def holds(data: Bytes, starts: Starts, expected: bytes) -> NDArray[np.bool_]:
    """At which of n starts these bytes stand; there must be as many."""
    same: NDArray[np.bool_] = gather(data, starts, len(expected)) == np.void(expected)
    return same


def cut(data: Bytes, starts: Starts, width: int) -> pa.Array:
    """The same, as a column of binary values."""
    ends = np.arange(0, (len(starts) + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(),
        len(starts),
        [None, pa.py_buffer(ends), pa.py_buffer(gather(data, starts, width))],
    )


def digests(data: Bytes, starts: Starts) -> Digests:
    """The digests that begin at n places, of shape (n, 4)."""
    return gather(data, starts, DIGEST).view(np.uint64).reshape(-1, 4)


def _windows(data: Bytes, item: np.dtype[Any]) -> NDArray[Any]:
    """What stands at each place when it is read as such an item, without a copy."""
    return np.ndarray(
        (max(len(data) - item.itemsize + 1, 0),), dtype=item, buffer=data, strides=(1,)
    )


def last_words(column: pa.Array) -> NDArray[np.uint64]:
    """The last eight bytes of each of n values, which are those of a digest; shorter values whole.

    Values that differ may have the same word.
    """
    data, start, end = spans(column)
    words = np.zeros(len(column), dtype=np.uint64)
    long = end - start >= _WORD
    words[long] = gather(data, end[long] - _WORD, _WORD).view(np.uint64)
    for row in np.flatnonzero(~long).tolist():
        words[row] = int.from_bytes(data[start[row] : end[row]].tobytes(), "big")
    return words
