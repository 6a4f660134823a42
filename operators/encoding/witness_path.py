"""The path of a time event, encoded: the way from the root of a witness tree to its leaf."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.columns import spans

DEEPEST = 32
"""The most levels of a tree: with so many it can anchor all events there are."""

_TEXT, _TEXT_OF_ONE_BYTE = 0x60, 0x78
"""The head of an empty text, and that of one whose length takes one more byte; between them, the
head holds it."""

_LONG_TEXT = 24
"""From this length on a text takes a head of two bytes."""


def read_path(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The indices in n encoded paths, of shape (n, deepest), and how many there are in each.

    That is -1 where a path is anything but single digits with "/" between them, or has more than
    DEEPEST.
    """
    data, start, end = spans(texts)
    head = data[start]
    start = start + np.where(head < _TEXT_OF_ONE_BYTE, 1, 2)
    length = end - start
    # a node writes a long head only where it must
    usual = ((head < _TEXT_OF_ONE_BYTE) | (length >= _LONG_TEXT)) & (
        (head <= _TEXT_OF_ONE_BYTE) & ((length == 0) | (length % 2 == 1)) & (length < 2 * DEEPEST)
    )
    depth = np.where(usual, (length + 1) // 2, 0)
    steps = np.arange(depth.max(initial=0))
    at = np.minimum(start[:, None] + 2 * steps, len(data) - 1)
    path = data[at] - np.uint8(ord("0"))
    between = (data[np.minimum(at + 1, len(data) - 1)] == ord("/")) | (steps == depth[:, None] - 1)
    is_step = (path < 10) & between  # noqa: PLR2004 # ten digits
    reads = (is_step | (steps >= depth[:, None])).all(axis=1)
    return path, np.where(usual & reads, depth, -1)
