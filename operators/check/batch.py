"""Check: could a node serve this event? At one that it can't decode, a node's feed stops for ever.

The rules are those of FORMAT.md, The four kinds of event. Whatever an event needs (its root and
payload, a capability, a proof and the witness nodes that lead to its prev) must be in the database,
readable, and listed for the event. Events in the usual form that pass are found for a whole batch
at once; each of the others is looked at alone, and gets its reason there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor
from numpy.typing import NDArray

from operators.check.fetch import SMALL, fetched
from operators.check.headers import usual_capabilities
from operators.check.later import AsideSettings, BlocksInFiles, LaterCheck, SharedParts
from operators.check.lists import (
    CBOR_ENTRY,
    CBOR_ROOT,
    JOSE_ROOT,
    lists,
    lists_in_order,
    own_digests,
)
from operators.check.needs import (
    MET,
    NEED,
    UNKNOWN,
    UNMET,
    Needs,
    judge_by,
    judge_by_kept,
    multihashes_of,
    needs_of_signed,
    needs_of_times,
)
from operators.check.shared import (
    LARGEST_BLOCK,
    FetchBlocks,
    SharedBlocks,
    read_capability,
    read_node,
    read_proof,
)
from operators.check.single import (
    Failures,
    FetchEventBlocks,
    SingleCheck,
    named_capability,
)
from operators.check.store import BlockStore
from operators.check.usual import CBOR, JOSE, SHA2_256, keys, read_usual
from operators.check.witness import climb
from operators.encoding.cid import CBOR as CBOR_CODEC
from operators.encoding.cid import Cid
from operators.encoding.columns import (
    DIGEST,
    Digests,
    Mask,
    Rows,
    digests,
    occurrences,
    short,
    spans,
)
from operators.encoding.event_id import odd_order_keys
from operators.encoding.layouts import (
    CBOR_CID,
    JOSE_CID,
    PAYLOAD_AT,
    PROTECTED_AT,
    SIGNATURE_FROM_END,
    Places,
)
from operators.encoding.witness_path import read_path
from operators.schemas import DATA, INIT, TIME, UNSIGNED_INIT, Reason

BUDGET_BYTES = 64 * 1024 * 1024
"""For what is remembered, unless the run says otherwise: enough for 500,000 shared blocks."""

STORE_SHARE, ASIDE_SHARE, HEADERS_SHARE, BESIDE_SHARE = 5 / 8, 1 / 8, 1 / 8, 1 / 16
"""Of the budget: for the shared blocks of the usual forms; for events that are put aside; for the
capabilities that protected headers name; and for blocks in other forms, of each of two
generations."""

HEADER_BYTES = 250
"""What Python takes for the entry of a protected header, beside the header itself."""

_READABLE = frozenset({INIT, UNSIGNED_INIT, DATA, TIME})

LARGEST_ENVELOPE = 1024
"""Bytes; one that names a capability has about 450. The headers of a page are laid out together,
with eight bytes for each of theirs."""

_LARGEST_KEPT = pa.scalar(SMALL, pa.int32())


class Verdict(NamedTuple):
    """What is said of a batch of events."""

    failures: Failures
    """The rows that a node could not serve, each with the reason."""
    aside: Rows
    """Of each need in `needs` the row of its event, in rising order."""
    needs: Needs
    """Of those events that can't be judged yet, because blocks that they share are not at hand."""


@dataclass(frozen=True, slots=True)
class _Open:
    """What some events need of blocks that are not kept."""

    rows: Rows
    """Of the event of each need, in the batch."""
    needs: Needs

    @classmethod
    def none(cls) -> Self:
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=NEED))

    @classmethod
    def together(cls, each: Sequence[Self]) -> Self:
        if not each:
            return cls.none()
        return cls(
            np.concatenate([some.rows for some in each]),
            np.concatenate([some.needs for some in each]),
        )

    def only(self, which: Mask) -> Self:
        """Those events all of whose needs are among these."""
        dropped = np.unique(self.rows[~which])
        kept = ~np.isin(self.rows, dropped)
        return type(self)(self.rows[kept], self.needs[kept])

    def that_need(self, multihashes: set[bytes]) -> Mask:
        """Which needs are of one of these blocks."""
        wanted = pa.array([key[len(SHA2_256) :] for key in multihashes], pa.binary(DIGEST))
        digest = np.ascontiguousarray(self.needs["digest"])
        column = pa.Array.from_buffers(
            pa.binary(DIGEST), len(self.needs), [None, pa.py_buffer(digest)]
        )
        which: Mask = np.asarray(pc.is_in(column, value_set=wanted))
        return which

    def in_order(self) -> Self:
        """The same by rows."""
        order = np.argsort(self.rows, kind="stable")
        return type(self)(self.rows[order], self.needs[order])

    def pass_those_that_meet(self, answers: NDArray[np.int8], passed: Mask) -> None:
        """Pass the events all of whose needs are met."""
        passed[self.rows] = True
        passed[self.rows[answers != MET]] = False


class _Blocks:
    """Blocks by multihash, and about how many bytes they take."""

    def __init__(self) -> None:
        self.size = 0
        self._contents: dict[bytes, bytes] = {}

    def add(self, multihashes: pa.Array, contents: pa.Array) -> None:
        self._contents.update(zip(multihashes.to_pylist(), contents.to_pylist(), strict=True))
        self.size += contents.nbytes + HEADER_BYTES * len(contents)

    def pop(self, multihash: bytes) -> bytes | None:
        return self._contents.pop(multihash, None)

    def among(self, multihashes: set[bytes]) -> set[bytes]:
        """Those of some multihashes whose blocks these are."""
        return multihashes & self._contents.keys()


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
        self._fetch_blocks = fetch
        self._lock = Lock()
        self._budget_bytes = budget_bytes
        self._blocks_in_files = BlocksInFiles(aside.spill_folder) if aside else None
        self._store = BlockStore(int(budget_bytes * STORE_SHARE), self._blocks_in_files)
        self._fetched: dict[bytes, bytes | None] = {}
        """Blocks that were looked up for the batch at hand; None: there is none."""
        self._beside, self._beside_before = _Blocks(), _Blocks()
        self._capabilities = SharedBlocks(self._blocks, read_capability, Reason.CAPABILITY_MISSING)
        self._proofs = SharedBlocks(self._blocks, read_proof, Reason.PROOF_MISSING)
        self._nodes = SharedBlocks(self._blocks, read_node, Reason.WITNESS_MISSING)
        self._single = SingleCheck(
            self._capabilities, self._proofs, self._nodes, fetch, fetch_event_blocks
        )
        self._limits = aside.limits if aside else None
        self._look_ups_left = aside.limits.look_ups_at_once if aside else 0
        self.later = (
            LaterCheck(
                aside,
                int(budget_bytes * ASIDE_SHARE),
                SharedParts(self._lock, self._store, self._blocks_in_files, fetch, self._single),
            )
            if aside and self._blocks_in_files
            else None
        )
        """Judges events that are put aside; None: none are."""
        self.alone = 0
        """Events that were looked at alone, because they are not in the usual form or not right."""
        self._names: dict[bytes, Cid | None] = {}
        self._names_bytes = 0

    def judge(
        self,
        raw: pa.RecordBatch,
        beside: pa.Table,
        kind: NDArray[np.int8],
        plain: Mask,
        times: Sequence[Places],
    ) -> Verdict:
        """The rows that a node could not serve, and those of which that can't be said yet.

        Args:
            raw: n events of schema RAW, with the event blocks of each.
            beside: blocks of schema BLOCKS that were read with these events: whatever these and
                later events need beside their own.
            kind: of each event, an index into `operators.schemas.KINDS`; any other number: it is
                not readable, and left out.
            plain: which root blocks are plain envelopes.
            times: those of the time events that are in the usual layout.

        Raises:
            SpillError: the scratch folder can't take what does not fit in memory.
        """
        with self._lock:
            self._turn_page(beside)
            passed = np.zeros(raw.num_rows, dtype=np.bool_)
            signed = (kind == INIT) | (kind == DATA)
            odd = np.array(odd_order_keys(raw["order_key"]), dtype=np.int64)
            open_ones = _Open.together(
                [
                    self._pass_signed(raw, np.flatnonzero(signed & plain), passed),
                    *(self._pass_times(raw, places, passed) for places in times),
                ]
            )
            # these have other things the matter with them
            small = _are_small(raw)
            open_ones = open_ones.only(small[open_ones.rows] & ~np.isin(open_ones.rows, odd))
            aside = self._look_up(open_ones, passed)
            passed &= small
            failed = {row: Reason.ORDER_KEY for row in odd.tolist() if kind[row] in _READABLE}
            passed[aside.rows] = True
            for fail, rows in (
                (self._single.fail_signed, np.flatnonzero(signed & ~passed)),
                (self._single.fail_time, np.flatnonzero((kind == TIME) & ~passed)),
                (self._single.fail_unsigned, np.flatnonzero(kind == UNSIGNED_INIT)),
            ):
                failed |= fail(raw, rows)
                self.alone += len(rows)
            return Verdict(failed, aside.rows, aside.needs)

    def _turn_page(self, beside: pa.Table) -> None:
        """Take in what was read beside a batch, and forget what was not wanted for long."""
        small = pc.less_equal(pc.binary_length(beside["bytes"]), _LARGEST_KEPT)
        beside = beside.filter(small).combine_chunks()
        for shared in (self._capabilities, self._proofs, self._nodes):
            shared.forget()
        self._fetched = {}
        self._store.turn_page(beside.num_rows)
        if not beside.num_rows:
            return
        multihashes, contents = (beside[name].chunk(0) for name in ("multihash", "bytes"))
        records, usual = read_usual(multihashes, contents)
        self._store.add(records)
        if self._beside.size >= self._budget_bytes * BESIDE_SHARE:
            self._beside_before, self._beside = self._beside, _Blocks()
        others = pa.array(~usual)
        self._beside.add(multihashes.filter(others), contents.filter(others))

    def _blocks(self, multihashes: pa.Array) -> dict[bytes, bytes]:
        """Those of the blocks that there are; what was read or looked up lately costs nothing."""
        held, absent = {}, []
        for wanted in multihashes.to_pylist():
            if wanted in self._fetched:
                block = self._fetched[wanted]
            else:
                # whoever asks for a block keeps what is in it
                block = self._beside.pop(wanted) or self._beside_before.pop(wanted)
                if block is None:
                    absent.append(wanted)
            if block is not None:
                held[wanted] = block
        return held | self._fetch_blocks(pa.array(absent, pa.binary())) if absent else held

    def _look_up(self, open_ones: _Open, passed: Mask) -> _Open:
        """Fetch what open events need, and pass those that have it; those that are put aside."""
        multihashes = multihashes_of(open_ones.needs)
        odd = self._at_hand(set(multihashes))
        if odd:
            open_ones = open_ones.only(~open_ones.that_need(odd))
            multihashes = multihashes_of(open_ones.needs)
        if not multihashes:
            return _Open.none()
        if self._limits is not None and len(multihashes) > self._limits.look_ups_a_page:
            if len(multihashes) > self._look_ups_left:
                return open_ones.in_order()
            self._look_ups_left -= len(multihashes)
        records = []
        self._fetched = dict.fromkeys(multihashes)
        for found in fetched(self._fetch_blocks, multihashes):
            some, _ = read_usual(
                pa.array(found.keys(), pa.binary()), pa.array(found.values(), pa.binary())
            )
            records.append(some)
            self._store.add(some)
            for key, block in found.items():
                if len(block) <= SMALL:
                    self._fetched[key] = block
                else:
                    # it is fetched again by whoever looks at its event alone
                    del self._fetched[key]
        answers = judge_by(open_ones.needs, np.concatenate(records))
        open_ones.pass_those_that_meet(answers, passed)
        return _Open.none()

    def _at_hand(self, multihashes: set[bytes]) -> set[bytes]:
        """Which blocks that are not in the store were read or looked up before.

        They are in another form, or there is none: their events are looked at alone.
        """
        found = self._beside.among(multihashes) | self._beside_before.among(multihashes)
        for shared in (self._capabilities, self._proofs, self._nodes):
            found |= multihashes & shared.recent.keys()
            found |= multihashes & shared.older.keys()
        return found

    def _pass_signed(self, raw: pa.RecordBatch, rows: Rows, passed: Mask) -> _Open:
        """Pass those of the rows, plain envelopes, that a node can serve; what is left open."""
        # what is larger is read one by one
        _, begin, end = spans(raw["root"])
        rows = rows[(end - begin)[rows] <= LARGEST_ENVELOPE]
        own, is_jose = own_digests(raw, rows, JOSE_CID)
        rows, own = rows[is_jose], own[is_jose]
        if not len(rows):
            return _Open.none()
        envelopes, start, _ = spans(raw["root"])
        payload = digests(envelopes, start[rows] + PAYLOAD_AT + len(SHA2_256))
        headers = pc.binary_slice(raw["root"], PROTECTED_AT, -SIGNATURE_FROM_END).take(
            pa.array(rows)
        )
        names_one = _may_name_capability(headers)
        capability, may_be = np.zeros_like(own), ~names_one
        if names_one.any():
            which = np.flatnonzero(names_one)
            capability[which], names_one[which], may_be[which] = self._named_capabilities(
                headers.filter(pa.array(names_one))
            )
        none = np.flatnonzero(may_be & ~names_one)
        needed = short(np.stack([payload[none], own[none]], axis=1))
        passed[rows[none[lists(raw, rows[none], needed, (CBOR_ENTRY, JOSE_ROOT))]]] = True
        named = np.flatnonzero(may_be & names_one)
        needed = short(np.stack([capability[named], payload[named], own[named]], axis=1))
        as_what = (CBOR_ENTRY, CBOR_ENTRY, JOSE_ROOT)
        named = named[lists(raw, rows[named], needed, as_what)]
        return self._decide(rows[named], needs_of_signed(capability[named]), passed)

    def _named_capabilities(self, headers: pa.Array) -> tuple[Digests, Mask, Mask]:
        """For each of n protected headers what it names as its capability.

        That is the digest in the name, whether it names one, and whether it names one in the usual
        form or none.
        """
        digest, usual = usual_capabilities(headers)
        names_one, may_be = usual.copy(), usual.copy()
        others = np.flatnonzero(~usual)
        if len(others):
            encoded = headers.take(pa.array(others)).dictionary_encode()
            names = [self._capability_of(header) for header in encoded.dictionary.to_pylist()]
            has_digest = [
                name is not None
                and name.codec == CBOR_CODEC
                and name.multihash.startswith(SHA2_256)
                and len(name.multihash) == len(SHA2_256) + DIGEST
                for name in names
            ]
            table = _words(
                name.multihash[len(SHA2_256) :] if name and is_usual else bytes(DIGEST)
                for name, is_usual in zip(names, has_digest, strict=True)
            )
            which = np.asarray(encoded.indices)
            digest[others] = table[which]
            names_one[others] = np.array([name is not None for name in names])[which]
            may_be[others] = ~names_one[others] | np.array(has_digest)[which]
        return digest, names_one, may_be

    def _capability_of(self, encoded: bytes) -> Cid | None:
        """What a protected header, an encoded byte string of a plain envelope, names."""
        if encoded in self._names:
            return self._names[encoded]
        if self._names_bytes >= self._budget_bytes * HEADERS_SHARE:
            self._names.clear()
            self._names_bytes = 0
        self._names_bytes += len(encoded) + HEADER_BYTES
        name = self._names[encoded] = named_capability(decode_dag_cbor(encoded))
        return name

    def _pass_times(self, raw: pa.RecordBatch, times: Places, passed: Mask) -> _Open:
        """Pass those time events, in the usual layout, that a node can serve; what is left open."""
        own, is_cbor = own_digests(raw, times.rows, CBOR_CID)
        path, depth = read_path(times.text)
        blocks, _, block_end = spans(raw["root"])
        proof = digests(blocks, block_end[times.rows] - DIGEST)
        prevs, prev_start, prev_end = spans(times.prev)
        prev = keys(prevs, prev_end - DIGEST)
        of_prev = np.where(prev_end - prev_start == len(CBOR_CID) + DIGEST, CBOR, JOSE)
        of_prev = of_prev.astype(np.uint8)
        usual = np.flatnonzero(is_cbor & (depth >= 0))
        way = climb(self._store, short(proof[usual]), path[usual], depth[usual])
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
            open_ones.append(self._decide(times.rows[lost], needs, passed))
        return _Open.together(open_ones)

    def _decide(self, rows: Rows, needs: Needs, passed: Mask) -> _Open:
        """Pass those of n events whose needs, of shape (n, m), are met; those that stay open."""
        answers = judge_by_kept(needs.reshape(-1), self._store).reshape(needs.shape)
        passed[rows[(answers == MET).all(axis=1)]] = True
        is_open = (answers == UNKNOWN).any(axis=1) & ~(answers == UNMET).any(axis=1)
        event, at = np.nonzero((answers == UNKNOWN) & is_open[:, None])
        return _Open(rows[event], needs[event, at])


def _may_name_capability(headers: pa.Array) -> Mask:
    """Which protected headers hold what a capability's name begins with, or an escape."""
    data, start, _ = spans(headers)
    found = np.zeros(len(headers), dtype=np.bool_)
    for sign in (b"ipfs", b"\\"):
        found[np.searchsorted(start, occurrences(data, sign), side="right") - 1] = True
    return found


def _words(each: Iterable[bytes]) -> Digests:
    return np.frombuffer(b"".join(each), dtype=np.uint64).reshape(-1, 4)


def _are_small(raw: pa.RecordBatch) -> Mask:
    """Which events have blocks of their own that are certainly not too large for a node."""
    root, payload = (pc.binary_length(raw[name]) for name in ("root", "payload"))
    small: Mask = np.maximum(np.asarray(root), np.asarray(payload)) < LARGEST_BLOCK - 1024
    return small
