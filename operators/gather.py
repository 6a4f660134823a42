"""Bytes at computed places of an Arrow column, for all its rows at once."""

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Starts = NDArray[np.int64]
Digests = NDArray[np.uint64]
"""Digests of 32 bytes as four words each: the last axis has length 4."""

DIGEST = 32
"""Bytes of a digest."""


def spans(column: pa.Array) -> tuple[Bytes, Starts, Starts]:
    """The bytes under a column of binary or string values, and where in them each of its n values begins and ends."""
    if not len(column):
        return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    _, offsets, values = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    data = np.frombuffer(values, dtype=np.uint8) if values is not None else np.empty(0, dtype=np.uint8)
    return data, ends[:-1], ends[1:]


def gather(data: Bytes, starts: Starts, width: int) -> Bytes:
    """The `width` bytes from each of n starts on, which must lie within `data`; of shape (n, width)."""
    if not len(starts):
        return np.empty((0, width), dtype=np.uint8)
    return sliding_window_view(data, width)[starts]


def digests(data: Bytes, starts: Starts) -> Digests:
    """The digests that begin at n places, of shape (n, 4)."""
    return gather(data, starts, DIGEST).view(np.uint64)
