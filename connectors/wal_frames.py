"""The frames of a WAL that SQLite would take, found without SQLite (its WAL file format)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WAL_MAGIC = 0x377F0682
"""The first word of a WAL; with its last bit set checksums count big-endian words."""

WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24

CHECKED_BYTES = 8 << 20
"""Frames are checked in groups of about so many bytes, which bounds the memory for it."""


@dataclass(frozen=True)
class Frames:
    """The committed frames of a WAL."""

    page_bytes: int
    database_pages: int
    """How long the database is with them."""
    pages: NDArray[np.int64]
    """The page number of each frame."""
    content: NDArray[np.uint8]
    """The page of each frame."""

    def last(self) -> dict[int, int]:
        """The last frame of each page, by page number."""
        return {int(page): frame for frame, page in enumerate(self.pages)}


def read_frames(wal: Path) -> Frames | None:
    """The frames up to the last commit; None where SQLite would find no WAL.

    A frame counts if it has the salts of the header, and checksums that go on from those of the
    frame before it. With the first that does not, an earlier round of the WAL or a torn write
    begins.
    """
    data = np.memmap(wal, mode="r")
    header = data[:WAL_HEADER_BYTES].view(">u4")
    page_bytes, word = int(header[2]), ">u4" if header[0] & 1 else "<u4"
    if int(header[0]) & ~1 != WAL_MAGIC or page_bytes not in {512 << bits for bits in range(8)}:
        return None
    begin = np.zeros((1, 2), np.uint32)
    if (_checksums(begin, data[None, :24].view(word)) != header[6:]).any():
        return None
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    count = (len(data) - WAL_HEADER_BYTES) // frame_bytes
    frames = data[WAL_HEADER_BYTES : WAL_HEADER_BYTES + count * frame_bytes].reshape(count, -1)
    heads = np.ascontiguousarray(frames[:, :FRAME_HEADER_BYTES]).view(">u4")
    foreign = np.flatnonzero((heads[:, 2:4] != header[4:6]).any(axis=1) | (heads[:, 0] == 0))
    count = _checked(frames, heads, header[6:], word, int(foreign[0]) if len(foreign) else count)
    commits = np.flatnonzero(heads[:count, 1])
    if not len(commits):
        return None
    last = int(commits[-1])
    return Frames(
        page_bytes,
        int(heads[last, 1]),
        heads[: last + 1, 0].astype(np.int64),
        frames[: last + 1, FRAME_HEADER_BYTES:],
    )


def _checked(
    frames: NDArray[np.uint8],
    heads: NDArray[np.uint32],
    begin: NDArray[np.uint32],
    word: str,
    count: int,
) -> int:
    """How many of the first `count` frames have the checksums that follow from those before."""
    stored = np.vstack([begin, heads[:count, 4:6]]).astype(np.uint32)
    group = max(CHECKED_BYTES // frames.shape[1], 1)
    for start in range(0, count, group):
        some = slice(start, min(start + group, count))
        # all of a frame but its salts and its own checksums
        words = np.hstack([frames[some, :8], frames[some, FRAME_HEADER_BYTES:]]).view(word)
        right = (_checksums(stored[some], words) == stored[1:][some]).all(axis=1)
        if not right.all():
            return start + int(np.flatnonzero(~right)[0])
    return count


def _checksums(begin: NDArray[np.uint32], words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """SQLite's two checksums of each row of words, going on from `begin`.

    For each pair of words the first sum grows by a word and the second sum, then the second by a
    word and the first. So a word counts as often as the Fibonacci number of its place from the
    end says.
    """
    # the pair that leads from zero to `begin`
    first, second = begin[:, :1], begin[:, 1:] - begin[:, :1]
    words = np.hstack([first, second, words.astype(np.uint32)])
    times = np.zeros(words.shape[1] + 1, np.uint32)
    before, at = 0, 1
    for place in range(1, len(times)):
        times[place] = at
        before, at = at, (before + at) & 0xFFFFFFFF
    return np.stack([words @ times[-2::-1], words @ times[:0:-1]], axis=1)
