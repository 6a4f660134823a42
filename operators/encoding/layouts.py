"""The fast half of decode: events in the layout that nodes write, a whole batch at a time.

Canonical DAG-CBOR sorts the keys of a map, so in an event all bytes but those of one value stand at
fixed distances from the ends of its block, and can be compared for all rows at once. That one value
is read by the decoder, in one call for the batch. The answer is that of
`operators.event.read_event` or none at all: a row that is not exactly in the layout is left to it
(a property test holds this).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.encoding.columns import DIGEST, Mask, Rows, cut, holds, pieces, spans
from operators.encoding.values import (
    BEFORE_EACH,
    DECODED_TOGETHER,
    are_plain_texts,
    are_values,
)
from operators.schemas import DATA, TIME

CBOR_CID, JOSE_CID = b"\x01\x71\x12\x20", b"\x01\x85\x01\x12\x20"
"""How the CIDs of nearly all events begin: a dag-cbor or a dag-jose block, by its sha2-256."""


@cache
def link_head(cid: bytes) -> bytes:
    """A link up to the digest: tag 42, the head of a byte string, a zero, the CID's beginning."""
    return b"\xd8\x2a\x58" + bytes([len(cid) + DIGEST + 1, 0]) + cid


@dataclass(frozen=True)
class Layout:
    """A map of `id`, one value in the middle, `prev`, and what follows, in this order."""

    entries: int
    middle: bytes
    """The key of the value in the middle, encoded."""
    middle_is_text: bool
    """Whether that value must be a text, or may be anything."""
    kind: int
    tails: tuple[bytes, ...] = (b"",)
    """What can stand at the end of the block, encoded, or before the digest of a proof."""
    has_proof: bool = False
    """Whether the block ends with the digest of a proof."""


DATA_LAYOUT = Layout(3, b"\x64data", middle_is_text=False, kind=DATA)
DATA_WITH_HEADER = Layout(
    4,
    b"\x64data",
    middle_is_text=False,
    kind=DATA,
    tails=tuple(
        b"\x66header\xa1\x6bshouldIndex" + should_index for should_index in (b"\xf4", b"\xf5")
    ),
)
TIME_LAYOUT = Layout(
    4,
    b"\x64path",
    middle_is_text=True,
    kind=TIME,
    tails=(b"\x65proof" + link_head(CBOR_CID),),
    has_proof=True,
)

PAYLOAD_AT = 13
"""Where in a plain envelope the multihash of its payload begins."""
_ENVELOPE_HEAD = b"\xa2\x67payload\x58\x24" + CBOR_CID
_SIGNATURES = b"\x6asignatures\x81\xa2\x69protected"
_SIGNATURES_AT = len(_ENVELOPE_HEAD) + DIGEST
PROTECTED_AT = _SIGNATURES_AT + len(_SIGNATURES)
_SIGNATURE = b"\x69signature\x58\x40"
SIGNATURE_FROM_END = len(_SIGNATURE) + 64

_FEW = 16
"""When so many events or fewer can't be read alike, each is read alone."""

_GROUP_BYTES = 4 * 1024 * 1024
"""The most bytes of blocks that are read alike: they are copied three times."""


class Places(NamedTuple):
    """Events of a batch that were read: their streams and parents, as columns of one length."""

    rows: Rows
    """Their indices in the batch."""
    stream: pa.Array
    prev: pa.Array
    kind: NDArray[np.int8]
    text: pa.Array
    """The encoded text in the middle of their layout; null where it may be anything."""


def joined_places(each: Sequence[Places]) -> Places:
    """Those of several groups as one."""
    nothing = pa.array([], pa.binary())
    rows, kind = (
        np.concatenate([np.zeros(0, dtype=item), *(getattr(some, name) for some in each)])
        for name, item in (("rows", np.int64), ("kind", np.int8))
    )
    stream, prev, text = (
        pa.concat_arrays([nothing, *(getattr(some, name) for some in each)])
        for name in ("stream", "prev", "text")
    )
    return Places(rows, stream, prev, kind, text)


def plain_envelopes(roots: pa.BinaryArray) -> Mask:
    """Which root blocks are envelopes of one signature, whole and in the layout nodes write."""
    data, start, end = spans(roots)
    rows = np.flatnonzero(end - start >= PROTECTED_AT + 3 + SIGNATURE_FROM_END)
    rows = rows[holds(data, start[rows], _ENVELOPE_HEAD)]
    rows = rows[holds(data, start[rows] + _SIGNATURES_AT, _SIGNATURES)]
    rows = rows[holds(data, end[rows] - SIGNATURE_FROM_END, _SIGNATURE)]
    # what is left between the fixed parts must be one byte string: 0x58 and its length in a byte,
    # or 0x59 and two bytes
    heads = (
        pieces(data, start[rows] + PROTECTED_AT, 3).view(np.uint8).reshape(-1, 3).astype(np.int64)
    )
    one_byte = heads[:, 0] == 0x58  # noqa: PLR2004 # as the comment says
    protected = np.where(one_byte, 2 + heads[:, 1], 3 + heads[:, 1] * 256 + heads[:, 2])
    whole = PROTECTED_AT + protected + SIGNATURE_FROM_END == (end - start)[rows]
    found = np.zeros(len(roots), dtype=np.bool_)
    found[rows[whole & (one_byte | (heads[:, 0] == 0x59))]] = True  # noqa: PLR2004 # likewise
    return found


class _Middle(NamedTuple):
    """The value in the middle of some blocks."""

    is_text: bool
    """Whether it must be a text, or may be anything."""
    start: int
    """Bytes of a block before it."""
    end: int
    """Bytes of a block after it."""
    decoded_together: int
    """Values that are decoded in one call."""


def read_alike(
    column: pa.BinaryArray, rows: Mask, layout: Layout, decoded_together: int = DECODED_TOGETHER
) -> list[Places]:
    """Read those of the masked rows whose blocks are in `layout`.

    There is a group for each way in which the CIDs of stream and prev can begin.
    """
    found: list[Places] = []
    masked = np.flatnonzero(rows)
    data, start, end = spans(column)
    length = end - start
    for of_stream in (CBOR_CID, JOSE_CID):
        begin = bytes([0xA0 + layout.entries]) + b"\x62id" + link_head(of_stream)
        value_from = len(begin) + DIGEST + len(layout.middle)
        begun = masked[length[masked] > value_from]
        begun = begun[holds(data, start[begun], begin)]
        begun = begun[holds(data, start[begun] + len(begin) + DIGEST, layout.middle)]
        for of_prev, tail in product((CBOR_CID, JOSE_CID), layout.tails):
            prev = b"\x64prev" + link_head(of_prev)
            after_prev = len(tail) + (DIGEST if layout.has_proof else 0)
            after_value = len(prev) + DIGEST + after_prev
            # the fixed parts must not overlap, and a value has at least one byte
            alike = begun[length[begun] > value_from + after_value]
            alike = alike[holds(data, end[alike] - after_value, prev)]
            alike = alike[holds(data, end[alike] - after_prev, tail)] if tail else alike
            middle = _Middle(layout.middle_is_text, value_from, after_value, decoded_together)
            for some, texts in _with_values(column, alike, middle):
                streams = cut(
                    data, start[some] + len(begin) - len(of_stream), len(of_stream) + DIGEST
                )
                prevs = cut(
                    data, end[some] - after_prev - DIGEST - len(of_prev), len(of_prev) + DIGEST
                )
                found.append(
                    Places(
                        some, streams, prevs, np.full(len(some), layout.kind, dtype=np.int8), texts
                    )
                )
    return found


def _with_values(
    column: pa.BinaryArray, rows: Rows, middle: _Middle
) -> list[tuple[Rows, pa.Array]]:
    """Those of the rows whose values are readable, in groups, with their texts."""
    if not len(rows):
        return []
    _, start, end = spans(column)
    is_small = len(rows) == 1 or int((end - start)[rows].sum()) <= _GROUP_BYTES
    texts = _texts_of(column, rows, middle) if is_small else None
    if texts is not None:
        return [(rows, texts)]
    # one of them can't be read, or they are large: each half is tried by itself
    halves = np.array_split(rows, 2) if len(rows) > _FEW or not is_small else []
    return [group for half in halves for group in _with_values(column, half, middle)]


def _texts_of(column: pa.BinaryArray, rows: Rows, middle: _Middle) -> pa.Array | None:
    """The texts in the middle of some blocks, None if the value of any is not readable."""
    blocks = column.take(pa.array(rows))
    texts = (
        pc.binary_slice(blocks, middle.start, -middle.end)
        if middle.is_text
        else pa.nulls(len(rows), pa.binary())
    )
    if middle.is_text and are_plain_texts(texts):
        return texts
    values = pc.binary_slice(blocks, middle.start - BEFORE_EACH, -middle.end)
    is_right = are_values(values, are_texts=middle.is_text, together=middle.decoded_together)
    return texts if is_right else None
