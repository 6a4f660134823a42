"""The fast half of decode: events in the layout that nodes write, a whole batch at a time.

Canonical DAG-CBOR sorts the keys of a map, so an event's links stand at fixed distances from the ends of its block and numpy can see
for all rows at once that they are links. What lies between is read by the decoder, in one call for the batch. The answer is that of
`operators.decode.read_event` or none at all: a row that is not exactly in the layout is left to it (a property test holds this).
"""

import os
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor_multi
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LINK = {36: b"\xd8\x2a\x58\x25\x00", 37: b"\xd8\x2a\x58\x26\x00"}
"""What stands before the bytes of a CID in a link: tag 42, a byte string one longer than the CID, the leading zero."""


@dataclass(frozen=True)
class Layout:
    """A map whose first key is `id` and whose last keys are links."""

    keys: tuple[str, ...]
    behind_prev: int
    """Bytes from the end of the CID in `prev` to the end of the block."""


DATA_LAYOUT = Layout(("id", "data", "prev"), 0)
_PROOF = b"\x65proof" + _LINK[36]
TIME_LAYOUT = Layout(("id", "path", "prev", "proof"), len(_PROOF) + 36)

SHORTEST = 97
"""Bytes of the shortest map with `id`, one more entry and `prev`; anything shorter is left to the decoder."""

PAYLOAD_AT = 13
"""Where in a plain envelope the multihash of its payload begins."""
_ENVELOPE_HEAD = b"\xa2\x67payload\x58\x24"
_SIGNATURES = b"\x6asignatures\x81\xa2\x69protected"
_SIGNATURES_AT = len(_ENVELOPE_HEAD) + 36
PROTECTED_AT = _SIGNATURES_AT + len(_SIGNATURES)
_SIGNATURE = b"\x69signature\x58\x40"
SIGNATURE_FROM_END = len(_SIGNATURE) + 64
_ENVELOPE_LEAST = PROTECTED_AT + 2 + SIGNATURE_FROM_END


@dataclass(frozen=True)
class _Blocks:
    """A column of blocks as one run of bytes; `starts` and `ends` have one index a row."""

    data: Bytes
    starts: Rows
    ends: Rows

    @classmethod
    def of(cls, column: pa.BinaryArray) -> "_Blocks":
        _, offsets_buffer, data_buffer = column.buffers()
        offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
        data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
        return cls(data, offsets[:-1], offsets[1:])

    def hold(self, starts: Rows, expected: bytes) -> Mask:
        """Whether each of `starts` begins `expected`; the caller has seen that all lie inside."""
        if not len(starts):
            return np.zeros(0, dtype=np.bool_)
        window = sliding_window_view(self.data, len(expected))[starts]
        return np.asarray((window == np.frombuffer(expected, dtype=np.uint8)).all(axis=1))


def plain_envelopes(roots: pa.BinaryArray) -> Mask:
    """Which root blocks are envelopes of one signature, whole and in the layout nodes write; their bytes decide that alone."""
    blocks = _Blocks.of(roots)
    long = np.flatnonzero(blocks.ends - blocks.starts >= _ENVELOPE_LEAST)
    starts, ends = blocks.starts[long], blocks.ends[long]
    whole = blocks.hold(starts, _ENVELOPE_HEAD + b"\x01\x71\x12\x20")
    whole &= blocks.hold(starts + _SIGNATURES_AT, _SIGNATURES)
    whole &= blocks.hold(ends - SIGNATURE_FROM_END, _SIGNATURE)
    head, short = blocks.data[starts + PROTECTED_AT], blocks.data[starts + PROTECTED_AT + 1].astype(np.int64)
    two_bytes = short * 256 + blocks.data[starts + PROTECTED_AT + 2]
    protected_end = np.where(head == 0x58, PROTECTED_AT + 2 + short, PROTECTED_AT + 3 + two_bytes)  # noqa: PLR2004 # CBOR heads
    whole &= (head == 0x58) | (head == 0x59)  # noqa: PLR2004 # the same
    whole &= starts + protected_end == ends - SIGNATURE_FROM_END
    found = np.zeros(len(roots), dtype=np.bool_)
    found[long[whole]] = True
    return found


def read_alike(column: pa.BinaryArray, rows: Rows, layout: Layout) -> tuple[Rows, pa.Array, pa.Array]:
    """Read those of `rows` that are in `layout`: their indices, streams and prevs; none if one of them turns out not to be."""
    rows = rows[_in_layout(_Blocks.of(column), rows, layout)]
    maps = _decode_all(column.take(pa.array(rows))) if len(rows) else []
    if [tuple(fields) for fields in maps].count(layout.keys) != len(maps):
        maps = []
    streams, prevs = (list(map(itemgetter(key), maps)) for key in ("id", "prev"))
    proofs = list(map(itemgetter("proof"), maps)) if "proof" in layout.keys else []
    # a longer value at the end could hold all the bytes that the layout asks for
    if not {type(cid) for cid in (*prevs, *proofs)} <= {bytes} or not set(map(len, (*prevs, *proofs))) <= _LINK.keys():
        maps = []
    if "path" in layout.keys and not all(isinstance(fields["path"], str) for fields in maps):
        maps = []
    if not maps:
        return rows[:0], pa.array([], pa.binary()), pa.array([], pa.binary())
    return rows, pa.array(streams, pa.binary()), pa.array(prevs, pa.binary())


def _in_layout(blocks: _Blocks, rows: Rows, layout: Layout) -> Mask:
    """Whether `id` is the first key and a link, and a link stands where `prev` (and then `proof`) must end."""
    least = SHORTEST + layout.behind_prev
    first_key = bytes([0xA0 + len(layout.keys)]) + b"\x62id"
    inside = np.flatnonzero(blocks.ends[rows] - blocks.starts[rows] >= least)
    starts, ends = blocks.starts[rows[inside]], blocks.ends[rows[inside]] - layout.behind_prev
    stream_is_link, prev_is_link = (np.zeros(len(inside), dtype=np.bool_) for _ in range(2))
    for length, link in _LINK.items():
        stream_is_link |= blocks.hold(starts, first_key + link)
        prev_is_link |= blocks.hold(ends - length - len(link) - 5, b"\x64prev" + link)
    conforms = stream_is_link & prev_is_link
    if layout.behind_prev:
        conforms &= blocks.hold(ends, _PROOF)
    found = np.zeros(len(rows), dtype=np.bool_)
    found[inside[conforms]] = True
    return found


def _decode_all(blocks: pa.BinaryArray) -> list[dict[str, Any]]:
    """Decode blocks in one call; an empty list unless each of them is exactly one map.

    A byte string that nobody can have foreseen stands between the blocks. Only where every one of them comes back as an item of its
    own did each block end where it should, whatever it holds.
    """
    fence = os.urandom(16)
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(blocks)], blocks), b"\x50" + fence)[0].as_py()
    try:
        items = decode_dag_cbor_multi(joined)
    except (ValueError, RecursionError):
        return []
    maps, fences = items[::2], items[1::2]
    return maps if len(items) == 2 * len(blocks) - 1 and fences.count(fence) == len(fences) else []
