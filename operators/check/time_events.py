"""Time events in the usual layout, checked for a whole batch at once."""

import numpy as np
import pyarrow as pa

from operators.check.lists import CBOR_ENTRY, CBOR_ROOT, lists, lists_in_order, own_digests
from operators.check.needs import needs_of_times
from operators.check.open_needs import OpenNeeds, pass_met
from operators.check.store import BlockStore
from operators.check.usual import CBOR, JOSE, keys
from operators.check.witness import climb
from operators.encoding.columns import DIGEST, Mask, digests, short, spans
from operators.encoding.layouts import CBOR_CID, Places
from operators.encoding.witness_path import read_path


def pass_times(store: BlockStore, raw: pa.RecordBatch, times: Places, passed: Mask) -> OpenNeeds:
    """Pass those time events, in the usual layout, that a node can serve; what stays open."""
    own, is_cbor = own_digests(raw, times.rows, CBOR_CID)
    path, depth = read_path(times.text)
    blocks, _, block_end = spans(raw["root"])
    proof = digests(blocks, block_end[times.rows] - DIGEST)
    prevs, prev_start, prev_end = spans(times.prev)
    prev = keys(prevs, prev_end - DIGEST)
    of_prev = np.where(prev_end - prev_start == len(CBOR_CID) + DIGEST, CBOR, JOSE)
    of_prev = of_prev.astype(np.uint8)
    usual = np.flatnonzero(is_cbor & (depth >= 0))
    way = climb(store, short(proof[usual]), path[usual], depth[usual])
    right = way.arrived & (way.key == prev[usual]).all(axis=1) & (way.form == of_prev[usual])
    open_ones = []
    for deep in np.unique(depth[usual]):
        some = np.flatnonzero(right & (depth[usual] == deep))
        mine = usual[some]
        needed = np.concatenate([short(own[mine, None]), way.passed[some, : 1 + deep]], axis=1)
        as_what = (CBOR_ROOT, *[CBOR_ENTRY] * (needed.shape[1] - 1))
        passed[times.rows[mine[lists(raw, times.rows[mine], needed, as_what)]]] = True
        lost = usual[way.lost & (depth[usual] == deep)]
        at, listed = lists_in_order(raw, times.rows[lost], own[lost], proof[lost], 2 + deep)
        lost = lost[at]
        needs = needs_of_times(listed, path[lost, :deep], prev[lost], of_prev[lost])
        open_ones.append(pass_met(store, times.rows[lost], needs, passed))
    return OpenNeeds.concatenated(open_ones)
