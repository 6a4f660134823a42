"""Check: could a node serve this event? A node's feed stops for ever at a delivered event that it cannot decode.

The rules are those of CERAMIC.md, The four kinds of event. Whatever an event needs (its root and payload, a capability, a proof and
the witness nodes that lead to its prev) must be in the database, readable, and listed for the event.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor
from numpy.typing import NDArray

from operators.cid import multihash, parse_cid, root_multihashes
from operators.layouts import PAYLOAD_AT, PROTECTED_AT, SIGNATURE_FROM_END, plain_envelopes
from operators.schemas import DATA, INIT, TIME, Reason
from operators.shared import FetchBlocks, Link, Node, SharedBlocks, read_capability, read_node, read_proof

MULTIHASH_BYTES = 34
"""Of every multihash that a node lists: a code, a length and 32 bytes of digest."""

REMEMBERED_HEADERS = 65_536
"""Protected headers whose capability is remembered, about 20 MB."""

_ONE_BYTE_LENGTH = 0x58
"""The head of a byte string whose length takes one more byte; 0x59: two more."""

_JOINED = pa.scalar(b"", pa.binary())

Failures = dict[int, Reason]
Rows = NDArray[np.int64]


class NodeCheck:
    """Checks batches of events; remembers the blocks that events share, so that each is fetched and read about once.

    Not to be shared between threads.
    """

    def __init__(self, fetch: FetchBlocks) -> None:
        self._capabilities = SharedBlocks(fetch, read_capability, Reason.CAPABILITY_MISSING)
        self._proofs = SharedBlocks(fetch, read_proof, Reason.PROOF_MISSING)
        self._nodes = SharedBlocks(fetch, read_node, Reason.WITNESS_MISSING)
        self._names: dict[bytes, bytes | Reason | None] = {}

    def failures(self, raw: pa.RecordBatch, kind: NDArray[np.int8]) -> Failures:
        """The rows that a node could not serve, each with the reason.

        Args:
            raw: n readable events of schema RAW, with the blocks that are listed for each.
            kind: of each event, an index into `operators.schemas.KINDS`.
        """
        self._capabilities.forget()
        self._proofs.forget()
        self._nodes.forget()
        signed = (kind == INIT) | (kind == DATA)
        failed = self._fail_signed(raw, np.flatnonzero(signed))
        failed |= self._fail_time(raw, np.flatnonzero(kind == TIME))
        # what is left is unsigned init events, which are their root block alone
        rows = np.flatnonzero(~signed & (kind != TIME))
        needed = {int(row): [root] for row, root in zip(rows, _roots(raw, rows), strict=True)}
        return failed | _not_listed(raw, needed)

    def _fail_signed(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        at = pa.array(rows)
        envelopes, listed, own = raw["root"].take(at), raw["listed"].take(at), root_multihashes(raw["cid"].take(at))
        plain = plain_envelopes(envelopes)
        payload = pc.binary_slice(envelopes, PAYLOAD_AT, PAYLOAD_AT + MULTIHASH_BYTES)
        lists_both = pc.or_(
            pc.equal(listed, pc.binary_join_element_wise(own, payload, _JOINED)),
            pc.equal(listed, pc.binary_join_element_wise(payload, own, _JOINED)),
        )
        # a JSON key can be spelled with escapes
        headers = pc.binary_slice(envelopes, PROTECTED_AT, -SIGNATURE_FROM_END)
        may_name_one = pc.or_(pc.match_substring(headers, b'"cap"'), pc.match_substring(headers, b"\\"))
        special = np.flatnonzero(~plain | np.asarray(may_name_one) | ~np.asarray(lists_both))
        failed: Failures = {}
        needed: dict[int, list[bytes]] = {}
        named: dict[int, bytes] = {}
        columns = (column.take(pa.array(special)).to_pylist() for column in (own, payload, envelopes, listed))
        readable = self._capabilities.recent
        for row, is_plain, root, of_payload, envelope, held in zip(rows[special].tolist(), plain[special].tolist(), *columns, strict=True):
            if is_plain:
                blocks = [root, of_payload]
                header = envelope[PROTECTED_AT + (2 if envelope[PROTECTED_AT] == _ONE_BYTE_LENGTH else 3) : -SIGNATURE_FROM_END]
            else:
                fields = decode_dag_cbor(envelope)
                if not fields["signatures"]:
                    failed[row] = Reason.SIGNATURES_EMPTY
                    continue
                blocks = [root, multihash(fields["payload"]) or b""]
                header = _protected(fields["signatures"][0])
            name = self._names[header] if header in self._names else self._capability_named_by(header)
            # most of these events are of sessions that are known by now, and list the three blocks that they need
            if readable.get(name) is True and held == b"".join(sorted((*blocks, name))):  # type: ignore[arg-type] # True of bytes only
                continue
            if isinstance(name, Reason):
                failed[row] = name
                continue
            if name is not None:
                named[row] = name
                blocks.append(name)
            needed[row] = blocks
        capabilities = self._capabilities.get(set(named.values()))
        failed |= {row: found for row, name in named.items() if isinstance(found := capabilities[name], Reason)}
        return _not_listed(raw, needed) | failed

    def _capability_named_by(self, header: bytes) -> bytes | Reason | None:
        if len(self._names) >= REMEMBERED_HEADERS:
            self._names.clear()
        name = self._names[header] = _named_capability(header)
        return name

    def _fail_time(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        blocks = raw["root"].take(pa.array(rows)).to_pylist()
        ways = [
            _Way.of(row, root, decode_dag_cbor(block)) for row, root, block in zip(rows.tolist(), _roots(raw, rows), blocks, strict=True)
        ]
        proofs = self._proofs.get({way.proof for way in ways})
        for way in ways:
            way.begin(proofs[way.proof])
        # all go down their trees as far as is known, so that what they want next is fetched in one look-up
        going = [way for way in ways if way.path]
        while going := [way for way in going if way.descend(self._nodes)]:
            self._nodes.get({way.at for way in going})
        failed = {way.row: way.failure for way in ways if way.failure is not None}
        return _not_listed(raw, {way.row: way.needed for way in ways if way.failure is None}) | failed


_INDEX = {str(index): index for index in range(3)}
"""The usual parts of a path: lists of witness nodes have two or three items."""
_NO_INDEX = 10**9
"""No list is so long."""


@dataclass(slots=True)
class _Way:
    """The way from a time event's proof down to what it anchors."""

    row: int
    proof: bytes
    prev: bytes
    path: list[int]
    """The indices still to follow, the next one last."""
    needed: list[bytes]
    """Multihashes of the blocks that the event needs."""
    at: bytes = b""
    """Multihash of the node to read next."""
    failure: Reason | None = None

    @classmethod
    def of(cls, row: int, root: bytes, fields: dict[str, Any]) -> "_Way":
        proof, text = multihash(fields["proof"]) or fields["proof"], fields["path"]
        path = [_INDEX[part] if part in _INDEX else _index(part) for part in reversed(text.split("/"))] if text else []
        return cls(row, proof, fields["prev"], path, [root, proof])

    def begin(self, root: "Link | Reason") -> None:
        if isinstance(root, Reason):
            self.failure = root
            self.path.clear()
        elif self.path:
            self.at = root[1]
        elif root[0] != self.prev:
            self.failure = Reason.WITNESS_PATH

    def descend(self, nodes: "SharedBlocks[Node]") -> bool:
        """Go down as far as the remembered nodes reach; whether a node is wanted that is not among them."""
        path, at, recent = self.path, self.at, nodes.recent
        cid = b""
        while path:
            node = recent.get(at)
            if node is None:
                node = nodes.older.get(at)
                if node is None:
                    self.at = at
                    return True
                recent[at] = node
            if isinstance(node, Reason):
                self.failure = node
                return False
            self.needed.append(at)
            try:
                cid, at = node[path.pop()]  # type: ignore[misc] # None, where there is no link, can't be taken apart
            except (IndexError, TypeError):
                self.failure = Reason.WITNESS_PATH
                return False
        if cid != self.prev:
            self.failure = Reason.WITNESS_PATH
        return False


def _index(part: str) -> int:
    return int(part) if part.isascii() and part.isdecimal() and len(part) < len(str(_NO_INDEX)) else _NO_INDEX


def _roots(raw: pa.RecordBatch, rows: Rows) -> list[bytes]:
    """The multihashes of the root blocks of some events."""
    multihashes: list[bytes] = root_multihashes(raw["cid"].take(pa.array(rows))).to_pylist()
    return multihashes


def _not_listed(raw: pa.RecordBatch, needed: dict[int, list[bytes]]) -> Failures:
    """Those of the rows for which not every block that they need is listed."""
    listings = raw["listed"].take(pa.array(needed.keys(), pa.int64())).to_pylist()
    failed: Failures = {}
    for (row, blocks), listed in zip(needed.items(), listings, strict=True):
        # the index that they come from is sorted, and an event rarely lists more than it needs
        if listed == b"".join(sorted(blocks)):
            continue
        held = {listed[at : at + MULTIHASH_BYTES] for at in range(0, len(listed), MULTIHASH_BYTES)}
        if not held.issuperset(blocks):
            failed[row] = Reason.NOT_LISTED
    return failed


def _protected(signature: object) -> bytes:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    return protected if isinstance(protected, bytes) else b""


def _named_capability(protected: bytes) -> bytes | Reason | None:
    """The multihash of the capability that a protected header names, None if it names none."""
    try:
        header = json.loads(protected)
    except (ValueError, RecursionError):
        return None
    uri = header.get("cap") if isinstance(header, dict) else None
    if uri is None:
        return None
    if not isinstance(uri, str) or not uri.startswith("ipfs://"):
        return Reason.CAPABILITY_UNREADABLE
    try:
        cid = parse_cid(uri.removeprefix("ipfs://"))
    except ValueError:
        return Reason.CAPABILITY_UNREADABLE
    return multihash(cid) or Reason.CAPABILITY_UNREADABLE
