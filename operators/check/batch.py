"""Check: could a node serve this event? At one that it can't decode, a node's feed stops for ever.

The rules are those of FORMAT.md, The four kinds of event. Whatever an event needs (its root and
payload, a capability, a proof and the witness nodes that lead to its prev) must be in the database,
readable, and listed for the event. Events in the usual form that pass are found for a whole batch
at once; each of the others is looked at alone, and gets its reason there.
"""

from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.check.event import EventCheck, Failures, FetchEventBlocks
from operators.check.later import AsideSettings, BlocksInFiles, LaterCheck, SharedParts
from operators.check.needs import Needs, OpenNeeds, answers_of, multihashes_of
from operators.check.recent import RecentBlocks
from operators.check.shared_blocks import (
    LARGEST_BLOCK,
    SMALL,
    FetchBlocks,
    SharedBlocks,
    read_capability,
    read_node,
    read_proof,
)
from operators.check.signed import SignedCheck
from operators.check.store import BlockStore
from operators.check.time_events import pass_times
from operators.check.usual import read_usual
from operators.encoding.columns import Mask, Rows
from operators.encoding.event_id import odd_order_keys
from operators.encoding.layouts import Places
from operators.schemas import DATA, INIT, TIME, UNSIGNED_INIT, Reason

BUDGET_BYTES = 64 * 1024 * 1024
"""What the check may remember, in bytes, unless the run says otherwise: 450,000 shared blocks."""

STORE_SHARE, ASIDE_SHARE, HEADERS_SHARE, RECENT_SHARE = 5 / 8, 1 / 8, 1 / 8, 1 / 16
"""Shares of the budget: for shared blocks of the usual forms; for events that are put aside; for
the capabilities that protected headers name; for each of two generations of blocks in other forms.
"""

_READABLE = frozenset({INIT, UNSIGNED_INIT, DATA, TIME})

_LARGEST_KEPT = pa.scalar(SMALL, pa.int32())


class CheckedBatch(NamedTuple):
    """What the check says of a batch of events."""

    failures: Failures
    """The rows that a node could not serve, each with the reason."""
    aside: Rows
    """For each need in `needs` the row of its event; the rows rise."""
    needs: Needs
    """What those events need that can't be checked yet, because shared blocks are not kept."""


class NodeCheck:
    """Checks batches of events; remembers the blocks that events share, within a budget.

    Safe to share between threads: they wait for each other.
    """

    def __init__(
        self,
        fetch: FetchBlocks,
        fetch_event_blocks: FetchEventBlocks | None = None,
        *,
        budget_bytes: int = BUDGET_BYTES,
        aside: AsideSettings | None = None,
    ) -> None:
        """Find further blocks by `fetch`, and all event blocks of events by `fetch_event_blocks`.

        Without `fetch_event_blocks` those that come with the events are all there are; without
        `aside` no event is put aside.
        """
        self._lock = Lock()
        self._blocks_in_files = BlocksInFiles(aside.spill_folder) if aside else None
        self._store = BlockStore(int(budget_bytes * STORE_SHARE), self._blocks_in_files)
        self._recent = RecentBlocks(fetch, int(budget_bytes * RECENT_SHARE))
        take = self._recent.take
        self._capabilities = SharedBlocks(take, read_capability, Reason.CAPABILITY_MISSING)
        self._proofs = SharedBlocks(take, read_proof, Reason.PROOF_MISSING)
        self._nodes = SharedBlocks(take, read_node, Reason.WITNESS_MISSING)
        self._alone = EventCheck(
            self._capabilities, self._proofs, self._nodes, fetch, fetch_event_blocks
        )
        self._signed = SignedCheck(self._store, int(budget_bytes * HEADERS_SHARE))
        self._limits = aside.limits if aside else None
        self._look_ups_left = aside.limits.look_ups_at_once if aside else 0
        self.later = (
            LaterCheck(
                aside,
                int(budget_bytes * ASIDE_SHARE),
                SharedParts(self._lock, self._store, self._blocks_in_files, fetch, self._alone),
            )
            if aside and self._blocks_in_files
            else None
        )
        """Checks events that are put aside; None: none are."""
        self.alone = 0
        """Events that were looked at alone: they are not in the usual form, or not right."""

    def check(
        self,
        raw: pa.RecordBatch,
        other_blocks: pa.Table,
        kind: NDArray[np.int8],
        plain: Mask,
        times: Places,
    ) -> CheckedBatch:
        """Find the rows that a node could not serve, and those for which it is too early to say.

        Args:
            raw: n events of schema RAW, with the event blocks of each.
            other_blocks: blocks of schema BLOCKS that were read with these events: what these and
                later events share.
            kind: of each event, an index into `operators.schemas.KINDS`; any other number: it is
                not readable, and left out.
            plain: which root blocks are plain envelopes.
            times: those of the time events that are in the usual layout.

        Raises:
            SpillError: the scratch folder can't take what does not fit in memory.
        """
        with self._lock:
            self._turn_page(other_blocks)
            passed = np.zeros(raw.num_rows, dtype=np.bool_)
            signed = (kind == INIT) | (kind == DATA)
            odd = np.array(odd_order_keys(raw["order_key"]), dtype=np.int64)
            open_ones = OpenNeeds.concatenated(
                [
                    self._signed.pass_usual(raw, np.flatnonzero(signed & plain), passed),
                    pass_times(self._store, raw, times, passed),
                ]
            )
            # these can't pass: they are looked at alone
            small = _are_small(raw)
            open_ones = open_ones.only(small[open_ones.rows] & ~np.isin(open_ones.rows, odd))
            aside = self._look_up(open_ones, passed)
            passed &= small
            failed = {row: Reason.ORDER_KEY for row in odd.tolist() if kind[row] in _READABLE}
            passed[aside.rows] = True
            for fail, rows in (
                (self._alone.fail_signed, np.flatnonzero(signed & ~passed)),
                (self._alone.fail_time, np.flatnonzero((kind == TIME) & ~passed)),
                (self._alone.fail_unsigned, np.flatnonzero(kind == UNSIGNED_INIT)),
            ):
                failed |= fail(raw, rows)
                self.alone += len(rows)
            return CheckedBatch(failed, aside.rows, aside.needs)

    def _turn_page(self, blocks: pa.Table) -> None:
        """Keep the blocks that were read with a batch, and forget those not wanted for long."""
        small = pc.less_equal(pc.binary_length(blocks["bytes"]), _LARGEST_KEPT)
        blocks = blocks.filter(small).combine_chunks()
        for shared in (self._capabilities, self._proofs, self._nodes):
            shared.forget()
        self._recent.turn_page()
        self._store.turn_page(blocks.num_rows)
        if not blocks.num_rows:
            return
        multihashes, contents = (blocks[name].chunk(0) for name in ("multihash", "bytes"))
        records, usual = read_usual(multihashes, contents)
        self._store.add(records)
        others = pa.array(~usual)
        self._recent.add(multihashes.filter(others), contents.filter(others))

    def _look_up(self, open_ones: OpenNeeds, passed: Mask) -> OpenNeeds:
        """Fetch what open events need, and pass those that have it; returns those put aside."""
        multihashes = multihashes_of(open_ones.needs)
        odd = self._at_hand(set(multihashes))
        if odd:
            open_ones = open_ones.only(~open_ones.of_blocks(odd))
            multihashes = multihashes_of(open_ones.needs)
        if not multihashes:
            return OpenNeeds.none()
        if self._limits is not None and len(multihashes) > self._limits.look_ups_a_page:
            if len(multihashes) > self._look_ups_left:
                return open_ones.by_row()
            self._look_ups_left -= len(multihashes)
        records = []
        for found in self._recent.look_up(multihashes):
            some, _ = read_usual(
                pa.array(found.keys(), pa.binary()), pa.array(found.values(), pa.binary())
            )
            records.append(some)
            self._store.add(some)
        open_ones.pass_met(answers_of(open_ones.needs, np.concatenate(records)), passed)
        return OpenNeeds.none()

    def _at_hand(self, multihashes: set[bytes]) -> set[bytes]:
        """Those of some blocks, none of them in the store, that were read or looked up before.

        They are in another form, or there is none: their events are looked at alone.
        """
        found = self._recent.among(multihashes)
        for shared in (self._capabilities, self._proofs, self._nodes):
            found |= multihashes & shared.recent.keys()
            found |= multihashes & shared.older.keys()
        return found


def _are_small(raw: pa.RecordBatch) -> Mask:
    """Which events have blocks of their own that are certainly not too large for a node."""
    root, payload = (pc.binary_length(raw[name]) for name in ("root", "payload"))
    small: Mask = np.maximum(np.asarray(root), np.asarray(payload)) < LARGEST_BLOCK - 1024
    return small
