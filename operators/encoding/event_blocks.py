"""The event blocks of an event in one value: which blocks a node listed for it, and as what.

A node builds an event anew from these rows: it finds each block by its codec and multihash
together, and takes the one flagged as root for the event itself. So each row is kept whole, as one
entry; the entries are concatenated:

    codec      8 bytes, little-endian and signed; NO_CODEC: the node can't read the row
    root       1 byte: 1 where the row is flagged as root, else 0
    length     4 bytes, little-endian: of the multihash
    multihash

Entries of one length can be compared for a whole batch as plain bytes. Their order means nothing.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import DIGEST, Bytes, spans

NO_CODEC = -1
"""Stands for a codec or a root flag of another type, which a node can't read."""

HEAD = np.dtype([("codec", "<i8"), ("root", "u1"), ("length", "<u4")])
"""What stands before the multihash of an entry."""

USUAL_MULTIHASH = 2 + DIGEST
"""Bytes of the multihash of nearly every block: code, length, and a digest of 32 bytes."""

USUAL_ENTRY = HEAD.itemsize + USUAL_MULTIHASH
"""Bytes of an entry with such a multihash."""


class EventBlock(NamedTuple):
    """One entry."""

    multihash: bytes
    codec: int
    is_root: bool = False


def head(codec: int, *, is_root: bool = False, length: int = USUAL_MULTIHASH) -> bytes:
    """The bytes before the multihash of an entry."""
    return np.array((codec, is_root, length), dtype=HEAD).tobytes()


def pack(entries: Iterable[EventBlock]) -> bytes:
    """These entries, concatenated."""
    return b"".join(
        head(codec, is_root=is_root, length=len(multihash)) + multihash
        for multihash, codec, is_root in entries
    )


def unpack(packed: bytes) -> Iterator[EventBlock]:
    """The entries of one event."""
    at = 0
    while at < len(packed):
        codec, is_root, length = np.frombuffer(packed, HEAD, 1, at)[0].tolist()
        at += HEAD.itemsize
        yield EventBlock(packed[at : at + length], codec, bool(is_root))
        at += length


def pack_rows(
    event_rows: NDArray[np.int64],
    multihash: pa.Array,
    codec: NDArray[np.int64],
    root: NDArray[np.int64],
) -> pa.Array:
    """The packed entries of each of some events, from rows in the order of the events.

    Args:
        event_rows: how many rows each event has.
        multihash: of the n blocks.
        codec: of the n blocks; NO_CODEC where a node can't read the row.
        root: 1 where the row is flagged as root, else 0.
    """
    data, start, end = spans(multihash)
    heads = np.empty(len(codec), dtype=HEAD)
    heads["codec"], heads["root"], heads["length"] = codec, root, end - start
    if (heads["length"] == USUAL_MULTIHASH).all():
        entries = np.empty((len(codec), USUAL_ENTRY), dtype=np.uint8)
        entries[:, : HEAD.itemsize] = heads.view(np.uint8).reshape(len(codec), HEAD.itemsize)
        entries[:, HEAD.itemsize :] = _usual(data, start, len(codec))
        return pack_usual(event_rows, entries)
    joined = pc.binary_join_element_wise(_cut_heads(heads), multihash, b"")
    _, _, ends = spans(joined)
    return _packed(np.append(0, ends)[_first_rows(event_rows)], joined.buffers()[2])


def pack_usual(
    event_rows: NDArray[np.int64], entries: NDArray[np.void] | NDArray[np.uint8]
) -> pa.Array:
    """The same from entries of USUAL_ENTRY bytes, in the order of the events."""
    return _packed(_first_rows(event_rows) * USUAL_ENTRY, pa.py_buffer(entries))


def _first_rows(event_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(0, event_rows.cumsum())


def _packed(ends: NDArray[np.int64], content: pa.Buffer) -> pa.Array:
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, offsets, content])


def _usual(data: Bytes, start: NDArray[np.int64], rows: int) -> NDArray[np.uint8]:
    first = int(start[0]) if rows else 0
    return data[first : first + rows * USUAL_MULTIHASH].reshape(rows, USUAL_MULTIHASH)


def _cut_heads(heads: NDArray[np.void]) -> pa.Array:
    ends = np.arange(0, heads.nbytes + 1, HEAD.itemsize, dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(heads)]
    return pa.Array.from_buffers(pa.binary(), len(heads), buffers)
