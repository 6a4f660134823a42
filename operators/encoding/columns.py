"""Bytes at computed places of an Arrow column, for all its rows at once."""

import secrets
from functools import cache, reduce
from operator import and_
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)
Bytes = NDArray[np.uint8]
Starts = NDArray[np.int64]
Rows = NDArray[np.int64]
"""Indices of rows in a batch."""
Mask = NDArray[np.bool_]
"""For each row of a batch, true or false."""
Digests = NDArray[np.uint64]
"""Digests of 32 bytes as four words each: the last axis has length 4."""

DIGEST = 32
"""Bytes of a digest."""

_WORD = 8
"""Bytes of a word."""

_WORDS = 32
"""The words of a value that count in its hash, from its end on: an identifier of a hundred bytes
has thirteen."""

_GATHERED = 4
"""Words of a value that are gathered at once: those of a digest."""

_FACTORS = np.array(
    [pow(0x9E3779B97F4A7C15, 2 * place + 1, 2**64) for place in range(_WORDS + 2)], dtype=np.uint64
)
"""Factors of the words from the end on, of the length, and of the first word: odd powers of 2^64
divided by the golden ratio, modulo 2^64."""


_SECRETS = np.array([[secrets.randbits(32) for _ in range(4)] for _ in range(2)], dtype=np.uint32)
"""Random numbers of this process for `short`: for each of its two words, four, one for each quarter
of the second half of a digest."""


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


def pieces(data: Bytes, starts: Starts, width: int) -> NDArray[np.void]:
    """The `width` bytes from each of n starts on, which must lie within `data`.

    They are items of one type, which compare as bytes do.
    """
    item = _item(width)
    return _windows(data, item)[starts] if len(starts) else np.empty(0, dtype=item)


@cache
def _item(width: int) -> np.dtype[np.void]:
    return np.dtype(f"V{width}")


def put(data: Bytes, starts: Starts, content: bytes) -> None:
    """Write these bytes at each of n places; they must lie within `data`."""
    item = np.dtype(f"V{len(content)}")
    _windows(data, item)[starts] = np.void(content)


def occurrences(data: Bytes, wanted: bytes) -> Starts:
    """Where these one, two, four or eight bytes begin."""
    number = np.frombuffer(wanted, dtype=f"u{len(wanted)}")
    return np.flatnonzero(_windows(data, number.dtype) == number)


def holds(data: Bytes, starts: Starts, expected: bytes) -> NDArray[np.bool_]:
    """At which of n starts these bytes stand.

    From each start on, so many bytes must lie within `data`.
    """
    same: NDArray[np.bool_] = pieces(data, starts, len(expected)) == np.void(expected)
    return same


def cut(data: Bytes, starts: Starts, width: int) -> pa.Array:
    """The `width` bytes from each of n starts on, as a column of binary values."""
    ends = np.arange(0, (len(starts) + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(),
        len(starts),
        [None, pa.py_buffer(ends), pa.py_buffer(pieces(data, starts, width))],
    )


def digests(data: Bytes, starts: Starts) -> Digests:
    """The digests that begin at n places, of shape (n, 4)."""
    return pieces(data, starts, DIGEST).view(np.uint64).reshape(-1, 4)


def alike(one: NDArray[Item], other: NDArray[Item]) -> Mask:
    """Which of n rows of some words are alike: `all` over two words takes seven times as long."""
    return reduce(and_, (one[:, at] == other[:, at] for at in range(one.shape[1])))


def short(digests: Digests) -> NDArray[np.uint64]:
    """Digests in 16 bytes each, to be compared in this process alone: the last axis has length 2.

    All 32 bytes count, by secrets of this process. Otherwise somebody could write a link to a block
    that is not there, and it would pass for one that begins alike. To each word of the first half
    is added what the hash NH, of the message authentication code UMAC, makes of the second: two
    digests, however chosen, are alike in one word with a chance of 2^-32, and in both with one of
    2^-64.
    """
    quarters = np.ascontiguousarray(digests[..., 2:]).view(np.uint32)
    found = np.empty((*digests.shape[:-1], 2), dtype=np.uint64)
    # a column at a time: broadcasting over so short axes takes twice as long
    for word in range(2):
        one, two, three, four = (
            (quarters[..., at : at + 1] + _SECRETS[word, at]).astype(np.uint64) for at in range(4)
        )
        column = slice(word, word + 1)
        found[..., column] = digests[..., column] + (one * two + three * four)
    return found


def _windows(data: Bytes, item: np.dtype[Item]) -> NDArray[Item]:
    """What stands at each place when it is read as such an item, without a copy."""
    return np.ndarray(
        (max(len(data) - item.itemsize + 1, 0),), dtype=item, buffer=data, strides=(1,)
    )


def hashes(column: pa.Array) -> NDArray[np.uint64]:
    """A number for each of n values of any length; values that differ may have the same one.

    The last 256 bytes of each count, its first 8, and its length.
    """
    data, start, end = spans(column)
    length = end - start
    found = length.astype(np.uint64) * _FACTORS[_WORDS]
    width = int(length[0]) if len(length) else 0
    if width >= _WORD and (length == width).all():
        _add_words(found, data, int(start[0]), width)
    else:
        long = np.flatnonzero(length >= _WORD)
        if len(long) < len(length):
            found += _short_words(data, start, length)
        found[long] += _sums_of_words(data, start[long], end[long])
    # the upper bits of a sum of products are the well mixed ones
    mixed: NDArray[np.uint64] = _folded(found) * _FACTORS[0]
    return mixed


def _add_words(found: NDArray[np.uint64], data: Bytes, first: int, width: int) -> None:
    """Add the words of n values of one width that lie next to each other from `first` on."""

    def column(at: int) -> NDArray[np.uint64]:
        return np.ndarray(
            (len(found),), dtype=np.uint64, buffer=data, offset=first + at, strides=(width,)
        )

    found += _folded(column(0)) * _FACTORS[_WORDS + 1]
    for factor, at in zip(_FACTORS[:_WORDS], range(width - _WORD, -1, -_WORD), strict=False):
        found += _folded(column(at)) * factor


def _sums_of_words(data: Bytes, start: Starts, end: Starts) -> NDArray[np.uint64]:
    """What `_add_words` adds, for n values of any width."""
    first_word = pieces(data, start, _WORD).view(np.uint64)
    sums: NDArray[np.uint64] = _folded(first_word) * _FACTORS[_WORDS + 1]
    words = np.minimum((end - start) // _WORD, _WORDS)
    common = int(words.min(initial=_WORDS))
    for first in range(0, common, _GATHERED):
        # a gather of several words takes as long as that of one
        count = min(_GATHERED, common - first)
        gathered = pieces(data, end - (first + count) * _WORD, count * _WORD)
        for at, column in enumerate(gathered.view(np.uint64).reshape(-1, count).T[::-1]):
            sums += _folded(column) * _FACTORS[first + at]
    for at in range(common, int(words.max(initial=0))):
        rows = np.flatnonzero(words > at)
        word = pieces(data, end[rows] - (at + 1) * _WORD, _WORD).view(np.uint64)
        sums[rows] += _folded(word) * _FACTORS[at]
    return sums


def _folded(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same words with their upper bits in the lower ones too, which a product carries on."""
    return words ^ (words >> np.uint64(32))


def _short_words(data: Bytes, start: Starts, length: Starts) -> NDArray[np.uint64]:
    """The whole of each value that is shorter than a word; 0 for the others."""
    words = np.zeros(len(start), dtype=np.uint64)
    for place in range(_WORD - 1):
        rows = np.flatnonzero((length > place) & (length < _WORD))
        words[rows] = (words[rows] << np.uint64(8)) | data[start[rows] + place]
    words *= _FACTORS[0]
    return words
