"""Which events list just the blocks that they need, compared for a batch at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.check.usual import SHA2_256
from operators.encoding.cid import CBOR as CBOR_CODEC
from operators.encoding.cid import JOSE as JOSE_CODEC
from operators.encoding.columns import (
    DIGEST,
    Bytes,
    Digests,
    Item,
    Mask,
    Rows,
    alike,
    digests,
    holds,
    pieces,
    short,
    spans,
)
from operators.encoding.event_blocks import USUAL_ENTRY, head

CBOR_ENTRY, CBOR_ROOT, JOSE_ROOT = (
    head(codec, is_root=is_root) + SHA2_256
    for codec, is_root in ((CBOR_CODEC, False), (CBOR_CODEC, True), (JOSE_CODEC, True))
)
"""What stands before the digest in the entries of event blocks in the usual form."""

_BEGIN = USUAL_ENTRY - DIGEST
"""Bytes before the digest of an entry."""


def own_digests(raw: pa.RecordBatch, rows: Rows, begin: bytes) -> tuple[Digests, Mask]:
    """The digests in some events' own CIDs, and which of these CIDs begin like this.

    Where they do not, the digests have no meaning.
    """
    cids, start, end = spans(raw["cid"])
    usual = end[rows] - start[rows] == len(begin) + DIGEST
    rows = rows[usual]
    own = np.zeros((len(usual), 4), dtype=np.uint64)
    own[usual] = digests(cids, end[rows] - DIGEST)
    usual[usual] = holds(cids, start[rows], begin)
    return own, usual


def lists(
    raw: pa.RecordBatch, rows: Rows, needed: Digests, as_what: Sequence[bytes]
) -> NDArray[np.intp]:
    """The indices of those of n events whose event blocks are these and no other.

    Args:
        raw: events of schema RAW.
        rows: of the n events.
        needed: their digests, of shape (n, blocks, 4); or of (n, blocks, 2), as `short` makes
            them.
        as_what: what stands before the digest in the entry of each of the blocks.
    """
    blocks = needed.shape[1]
    at, entries = _entries(raw, rows, blocks)
    its, wanted = _digests_of(entries), needed[at]
    if wanted.shape[2] < its.shape[2]:
        its = short(its)
    same = (its == wanted).all(axis=(1, 2)) & _begin_with(raw, rows[at], as_what)
    # nodes mostly list them in the order in which they are needed here
    others = np.flatnonzero(~same)
    if len(others):
        begin = np.frombuffer(b"".join(as_what), dtype=np.uint8).reshape(1, blocks, _BEGIN)
        begin = np.broadcast_to(begin, (len(others), blocks, _BEGIN))
        by_entry, by_need = _order(its[others]), _order(wanted[others])
        same[others] = (_ordered(its[others], by_entry) == _ordered(wanted[others], by_need)).all(
            axis=(1, 2)
        ) & (_ordered(entries[others, :, :_BEGIN], by_entry) == _ordered(begin, by_need)).all(
            axis=(1, 2)
        )
    found: NDArray[np.intp] = at[same]
    return found


def lists_in_order(
    raw: pa.RecordBatch, rows: Rows, own: Digests, proof: Digests, blocks: int
) -> tuple[NDArray[np.intp], Digests]:
    """The indices of those of n events whose event blocks are their own, their proof, and others.

    They have `blocks` event blocks. Returned with the digests in these lists.
    """
    at, entries = _entries(raw, rows, blocks)
    lists = _digests_of(entries)
    same = _begin_with(raw, rows[at], (CBOR_ROOT, *[CBOR_ENTRY] * (blocks - 1)))
    same &= alike(lists[:, 0], own[at]) & alike(lists[:, 1], proof[at])
    return at[same], lists[same]


def _begin_with(raw: pa.RecordBatch, rows: Rows, as_what: Sequence[bytes]) -> Mask:
    """Which of n events with so many event blocks have these bytes before their digests."""
    packed, start, _ = spans(raw["event_blocks"])
    same = np.ones(len(rows), dtype=np.bool_)
    for block, begin in enumerate(as_what):
        same &= holds(packed, start[rows] + block * USUAL_ENTRY, begin)
    return same


def _entries(raw: pa.RecordBatch, rows: Rows, blocks: int) -> tuple[NDArray[np.intp], Bytes]:
    """The indices of those of n events that have so many event blocks, and their entries.

    These are of shape (n, blocks, bytes), and of no meaning where a multihash is of another length.
    """
    packed, start, end = spans(raw["event_blocks"])
    at = np.flatnonzero(end[rows] - start[rows] == blocks * USUAL_ENTRY)
    held = pieces(packed, start[rows[at]], blocks * USUAL_ENTRY)
    return at, held.view(np.uint8).reshape(-1, blocks, USUAL_ENTRY)


def _digests_of(entries: Bytes) -> Digests:
    return np.ascontiguousarray(entries[:, :, _BEGIN:]).view(np.uint64)


def _order(each: Digests) -> NDArray[np.int64]:
    """The order of the blocks of each of n events by the first words of their digests.

    Which of two that begin alike comes first does not matter here.
    """
    events, blocks, _ = each.shape
    order: NDArray[np.int64] = (
        np.argsort(each[:, :, 0], axis=1) + np.arange(events)[:, None] * blocks
    )
    return order


def _ordered(each: NDArray[Item], order: NDArray[np.int64]) -> NDArray[Item]:
    return each.reshape(-1, each.shape[2])[order]
