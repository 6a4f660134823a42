"""Check: could a node serve this event? A node's feed stops for ever at a delivered event that it cannot decode.

The rules are those of FORMAT.md, The four kinds of event. Whatever an event needs (its root and
payload, a capability, a proof and the witness nodes that lead to its prev) must be in the database,
readable, and listed for the event. Events in the usual form that pass are found for a whole batch
at once; each of the others is looked at alone, and gets its reason there.
"""

from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor
from numpy.typing import NDArray

from operators.check.shared import FetchBlocks, SharedBlocks, read_capability, read_node, read_proof
from operators.check.single import (
    MULTIHASH_BYTES,
    Failures,
    FetchListed,
    SingleCheck,
    named_capability,
)
from operators.check.witness import CBOR, JOSE, NO_LINK, SHA2_256, Witnesses
from operators.encoding.columns import DIGEST, Digests, digests, gather, holds, occurrences, spans
from operators.encoding.layouts import (
    CBOR_CID,
    JOSE_CID,
    PAYLOAD_AT,
    PROTECTED_AT,
    SIGNATURE_FROM_END,
    Mask,
    Places,
    Rows,
    read_path,
)
from operators.schemas import DATA, INIT, TIME, UNSIGNED_INIT, Reason

REMEMBERED_HEADERS = 65_536
"""Protected headers whose capability is remembered, about 20 MB."""

KEPT_BLOCKS = 16_384
"""Blocks from beside events that are no witness nodes, of one generation, and there are two; of some 400
bytes, so about 13 MB."""

LARGEST_KEPT = pa.scalar(1024, pa.int32())
"""Bytes; a capability has about 700, a proof less than 200."""


class NodeCheck:
    """Checks batches of events; remembers the blocks that events share, so that each is fetched and read about once.

    Safe to share between threads: they wait for each other.
    """

    def __init__(self, fetch: FetchBlocks, fetch_listed: FetchListed | None = None) -> None:
        """Find further blocks by `fetch`, and all that is listed for events by `fetch_listed`; None: what they bring is all."""
        self._fetch = fetch
        self._lock = Lock()
        self._beside: dict[bytes, bytes] = {}
        self._beside_before: dict[bytes, bytes] = {}
        self._witnesses = Witnesses()
        self._capabilities = SharedBlocks(self._blocks, read_capability, Reason.CAPABILITY_MISSING)
        self._proofs = SharedBlocks(self._blocks, read_proof, Reason.PROOF_MISSING)
        nodes = SharedBlocks(self._blocks, read_node, Reason.WITNESS_MISSING)
        self._single = SingleCheck(self._capabilities, self._proofs, nodes, fetch_listed)
        self._names: dict[bytes, bytes | Reason | None] = {}

    def failures(
        self,
        raw: pa.RecordBatch,
        beside: pa.Table,
        kind: NDArray[np.int8],
        plain: Mask,
        times: Sequence[Places],
    ) -> Failures:
        """The rows that a node could not serve, each with the reason.

        Args:
            raw: n events of schema RAW, with the blocks that are listed for each.
            beside: blocks of schema BLOCKS that were read with these events: whatever these and later events need beside their own.
            kind: of each event, an index into `operators.schemas.KINDS`; any other number: it is not readable, and left out.
            plain: which root blocks are plain envelopes.
            times: those of the time events that are in the usual layout.
        """
        with self._lock:
            self._begin(beside)
            passed = np.zeros(raw.num_rows, dtype=np.bool_)
            signed = (kind == INIT) | (kind == DATA)
            passed[self._pass_signed(raw, np.flatnonzero(signed & plain))] = True
            for places in times:
                passed[places.rows[self._pass_time(raw, places)]] = True
            failed = self._single.fail_signed(raw, np.flatnonzero(signed & ~passed))
            failed |= self._single.fail_time(raw, np.flatnonzero((kind == TIME) & ~passed))
            return failed | self._single.fail_unsigned(raw, np.flatnonzero(kind == UNSIGNED_INIT))

    def _begin(self, beside: pa.Table) -> None:
        """Take in what was read beside the events, and forget what has not been wanted for long."""
        small = pc.less_equal(pc.binary_length(beside["bytes"]), LARGEST_KEPT)
        beside = beside.filter(small).combine_chunks()
        for shared in (self._capabilities, self._proofs, self._single.nodes):
            shared.forget()
        self._witnesses.make_room(beside.num_rows)
        if not beside.num_rows:
            return
        multihashes, contents = (beside[name].chunk(0) for name in ("multihash", "bytes"))
        others = pa.array(~self._witnesses.add(multihashes, contents))
        if len(self._beside) >= KEPT_BLOCKS:
            self._beside_before, self._beside = self._beside, {}
        self._beside.update(
            zip(
                multihashes.filter(others).to_pylist(),
                contents.filter(others).to_pylist(),
                strict=True,
            )
        )

    def _blocks(self, multihashes: pa.Array) -> dict[bytes, bytes]:
        held = {}
        for wanted in multihashes.to_pylist():
            # whoever fetches a block keeps what is in it
            block = self._beside.pop(wanted, None) or self._beside_before.pop(wanted, None)
            if block is not None:
                held[wanted] = block
        absent = [wanted for wanted in multihashes.to_pylist() if wanted not in held]
        return held | self._fetch(pa.array(absent, pa.binary())) if absent else held

    def _fetch_nodes(self, multihashes: Sequence[bytes]) -> tuple[pa.Array, pa.Array]:
        found = self._fetch(pa.array(multihashes, pa.binary()))
        return pa.array(found.keys(), pa.binary()), pa.array(found.values(), pa.binary())

    def _pass_signed(self, raw: pa.RecordBatch, rows: Rows) -> Rows:
        """Those of the rows, plain envelopes, that a node can serve."""
        own, is_jose = _own_digests(raw, rows, JOSE_CID)
        rows, own = rows[is_jose], own[is_jose]
        if not len(rows):
            return rows
        envelopes, start, _ = spans(raw["root"])
        payload = digests(envelopes, start[rows] + PAYLOAD_AT + len(SHA2_256))
        headers = pc.binary_slice(raw["root"], PROTECTED_AT, -SIGNATURE_FROM_END).take(
            pa.array(rows)
        )
        names_one = _may_name_capability(headers)
        without = np.flatnonzero(~names_one)
        passed = rows[
            without[_lists(raw, rows[without], np.stack([payload[without], own[without]], axis=1))]
        ]
        if not names_one.any():
            return passed
        capability, at = self._usable_capabilities(headers.filter(pa.array(names_one)))
        named = np.flatnonzero(names_one)[at]
        with_capability = np.stack([capability, payload[named], own[named]], axis=1)
        return np.concatenate([passed, rows[named[_lists(raw, rows[named], with_capability)]]])

    def _usable_capabilities(self, headers: pa.Array) -> tuple[Digests, Rows]:
        """The digests of the capabilities that are named, and the indices of the headers that name them and no unusable one."""
        encoded = headers.dictionary_encode()
        names = [self._capability_of(header) for header in encoded.dictionary.to_pylist()]
        capabilities = self._capabilities.get({name for name in names if isinstance(name, bytes)})
        usable = {
            name
            for name, found in capabilities.items()
            if found is True and name.startswith(SHA2_256)
        }
        table = _words(
            name[len(SHA2_256) :] if isinstance(name, bytes) and name in usable else bytes(DIGEST)
            for name in names
        )
        which = np.asarray(encoded.indices)
        at = np.flatnonzero(np.array([name in usable for name in names])[which])
        return table[which[at]], at

    def _capability_of(self, encoded: bytes) -> bytes | Reason | None:
        """What a protected header, an encoded byte string of a plain envelope, names."""
        if encoded in self._names:
            return self._names[encoded]
        if len(self._names) >= REMEMBERED_HEADERS:
            self._names.clear()
        name = self._names[encoded] = named_capability(decode_dag_cbor(encoded))
        return name

    def _pass_time(self, raw: pa.RecordBatch, times: Places) -> NDArray[np.bool_]:
        """Which of n time events in the usual layout a node can serve."""
        passed = np.zeros(len(times.rows), dtype=np.bool_)
        own, is_cbor = _own_digests(raw, times.rows, CBOR_CID)
        path, depth = read_path(times.text)
        blocks, _, block_end = spans(raw["root"])
        proof = digests(blocks, block_end[times.rows] - DIGEST)
        root, form = self._roots_of(proof)
        rows = np.flatnonzero(is_cbor & (depth >= 0) & (form != NO_LINK))
        down = self._witnesses.climb(
            root[rows], form[rows], path[rows], depth[rows], self._fetch_nodes
        )
        prevs, prev_start, prev_end = spans(times.prev)
        prev = digests(prevs, prev_end[rows] - DIGEST)
        of_prev = np.where(prev_end[rows] - prev_start[rows] == len(CBOR_CID) + DIGEST, CBOR, JOSE)
        right = down.arrived & (down.digest == prev).all(axis=1) & (down.form == of_prev)
        for deep in np.unique(depth[rows[right]]):
            some = np.flatnonzero(right & (depth[rows] == deep))
            mine = rows[some]
            needed = np.concatenate(
                [own[mine, None], proof[mine, None], down.passed[some, :deep]], axis=1
            )
            passed[mine[_lists(raw, times.rows[mine], needed)]] = True
        return passed

    def _roots_of(self, proof: Digests) -> tuple[Digests, NDArray[np.uint8]]:
        """The digests of the roots that n proofs name, and the forms of the links; NO_LINK where it is in no usual form."""
        _, first, which = np.unique(proof[:, 0], return_index=True, return_inverse=True)
        keys = [SHA2_256 + key.tobytes() for key in proof[first]]
        links = self._proofs.get(set(keys))
        cids = [
            b"" if isinstance(link, Reason) else link[0] for link in map(links.__getitem__, keys)
        ]
        form = [
            CBOR if _is_usual(cid, CBOR_CID) else JOSE if _is_usual(cid, JOSE_CID) else NO_LINK
            for cid in cids
        ]
        root = _words(
            cid[-DIGEST:] if usual else bytes(DIGEST) for cid, usual in zip(cids, form, strict=True)
        )
        # of two proofs whose digests begin alike only one is among these
        same = (proof[first][which] == proof).all(axis=1)
        return root[which], np.where(same, np.array(form, dtype=np.uint8)[which], NO_LINK)


def _is_usual(cid: bytes, begin: bytes) -> bool:
    return cid.startswith(begin) and len(cid) == len(begin) + DIGEST


def _may_name_capability(headers: pa.Array) -> Mask:
    """Which protected headers hold the key `"cap"`, or an escape, with which a JSON key can be spelled too."""
    data, start, _ = spans(headers)
    found = np.zeros(len(headers), dtype=np.bool_)
    for sign in (b'"cap', b"\\"):
        found[np.searchsorted(start, occurrences(data, sign), side="right") - 1] = True
    return found


def _words(each: Iterable[bytes]) -> Digests:
    return np.frombuffer(b"".join(each), dtype=np.uint64).reshape(-1, 4)


def _own_digests(raw: pa.RecordBatch, rows: Rows, begin: bytes) -> tuple[Digests, Mask]:
    """The digests in some events' own CIDs, and which of these CIDs begin like this; without meaning where they do not."""
    cids, start, end = spans(raw["cid"])
    usual = end[rows] - start[rows] == len(begin) + DIGEST
    rows = rows[usual]
    own = np.zeros((len(usual), 4), dtype=np.uint64)
    own[usual] = digests(cids, end[rows] - DIGEST)
    usual[usual] = holds(cids, start[rows], begin)
    return own, usual


def _lists(raw: pa.RecordBatch, rows: Rows, needed: Digests) -> NDArray[np.intp]:
    """The indices of those of n events for which the blocks of these digests, of shape (n, blocks, 4), are listed and no other."""
    listed, start, end = spans(raw["listed"])
    blocks = needed.shape[1]
    at = np.flatnonzero(end[rows] - start[rows] == blocks * MULTIHASH_BYTES)
    held = gather(listed, start[rows[at]], blocks * MULTIHASH_BYTES)
    same = held == _multihashes(needed[at]).view(held.dtype)
    # nodes mostly list them in the order in which they are needed here
    others = np.flatnonzero(~same)
    other = held[others].view(np.uint8).reshape(-1, blocks, MULTIHASH_BYTES)
    by_sha = (other[:, :, : len(SHA2_256)] == np.frombuffer(SHA2_256, dtype=np.uint8)).all(
        axis=(1, 2)
    )
    its = np.ascontiguousarray(other[:, :, len(SHA2_256) :]).view(np.uint64)
    same[others] = by_sha & (_in_order(its) == _in_order(needed[at[others]])).all(axis=(1, 2))
    alike: NDArray[np.intp] = at[same]
    return alike


def _multihashes(each: Digests) -> NDArray[np.uint8]:
    """Of digests of any shape (..., 4) the multihashes, one behind the other."""
    whole = np.empty((each.size // 4, MULTIHASH_BYTES), dtype=np.uint8)
    whole[:, : len(SHA2_256)] = np.frombuffer(SHA2_256, dtype=np.uint8)
    whole[:, len(SHA2_256) :] = np.ascontiguousarray(each).view(np.uint8).reshape(-1, DIGEST)
    return whole.reshape(-1)


def _in_order(each: Digests) -> Digests:
    """The same digests of each of n events, by their first words: the order of digests that begin alike does not matter here."""
    events, blocks, _ = each.shape
    order: NDArray[np.int64] = (
        np.argsort(each[:, :, 0], axis=1) + np.arange(events)[:, None] * blocks
    )
    return each.reshape(-1, 4)[order]
