"""Check: could a node serve this event? A node's feed stops for ever at a delivered event that it cannot decode.

The rules are those of CERAMIC.md, The four kinds of event. Whatever an event needs (its root and payload, a capability, a proof and
the witness nodes that lead to its prev) must be in the database, readable, and listed for the event.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor
from numpy.typing import NDArray

from operators.cid import multihash, parse_cid, root_multihashes
from operators.dagcbor import linked_items, linked_keys
from operators.layouts import PAYLOAD_AT, PROTECTED_AT, SIGNATURE_FROM_END, plain_envelopes
from operators.schemas import DATA, INIT, TIME, Reason

FetchBlocks = Callable[[pa.Array], dict[bytes, bytes]]
"""From distinct multihashes to those blocks of them that the database holds."""

MULTIHASH_BYTES = 34
"""Of every multihash that a node lists: a code, a length and 32 bytes of digest."""

REMEMBERED_BLOCKS = 65_536
"""Shared blocks of one generation. Two generations of witness nodes take some 60 MB."""

_ONE_BYTE_LENGTH = 0x58
"""The head of a byte string whose length takes one more byte; 0x59: two more."""

_JOINED = pa.scalar(b"", pa.binary())
_ONE_BYTE, _SHORT = 24, 255
"""From these lengths on a head takes one more byte, or two."""

Content = TypeVar("Content")
Failures = dict[int, Reason]
Rows = NDArray[np.int64]


class NodeCheck:
    """Checks batches of events; remembers the blocks that events share, so that each is fetched and read about once.

    Not to be shared between threads.
    """

    def __init__(self, fetch: FetchBlocks) -> None:
        self._capabilities = _Shared(fetch, _read_capability, Reason.CAPABILITY_MISSING)
        self._proofs = _Shared(fetch, _read_proof, Reason.PROOF_MISSING)
        self._nodes = _Shared(fetch, _read_node, Reason.WITNESS_MISSING)
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
        columns = (column.take(pa.array(special)).to_pylist() for column in (own, payload, envelopes))
        for row, is_plain, root, of_payload, envelope in zip(rows[special].tolist(), plain[special], *columns, strict=True):
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
            name = self._capability_named_by(header)
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
        if header not in self._names:
            if len(self._names) >= REMEMBERED_BLOCKS:
                self._names.clear()
            self._names[header] = _named_capability(header)
        return self._names[header]

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


_Link = tuple[bytes, bytes]
"""A CID, and its multihash."""
_Node = tuple[_Link | None, ...]
"""The links of a witness node by index; None: that item is no link."""
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

    def begin(self, root: "_Link | Reason") -> None:
        if isinstance(root, Reason):
            self.failure = root
            self.path.clear()
        elif self.path:
            self.at = root[1]
        elif root[0] != self.prev:
            self.failure = Reason.WITNESS_PATH

    def descend(self, nodes: "_Shared[_Node]") -> bool:
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


@dataclass(slots=True)
class _Shared(Generic[Content]):
    """What is in the blocks that events share, by multihash; a reason stands for one that is of no use."""

    fetch: FetchBlocks
    read: Callable[[bytes], Content | Reason]
    missing: Reason
    recent: dict[bytes, Content | Reason] = field(default_factory=dict)
    older: dict[bytes, Content | Reason] = field(default_factory=dict)

    def get(self, wanted: set[bytes]) -> dict[bytes, Content | Reason]:
        found = {}
        absent = []
        for key in wanted:
            content = self.recent.get(key)
            if content is None:
                content = self.older.get(key)
                if content is None:
                    absent.append(key)
                    continue
                self.recent[key] = content
            found[key] = content
        if absent:
            blocks = self.fetch(pa.array(absent, pa.binary()))
            for key in absent:
                found[key] = self.recent[key] = self.read(blocks[key]) if key in blocks else self.missing
        return found

    def forget(self) -> None:
        """Drop what has not been wanted for a generation."""
        if len(self.recent) >= REMEMBERED_BLOCKS:
            self.older, self.recent = self.recent, {}


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
    if not isinstance(header, dict) or "cap" not in header:
        return None
    try:
        cid = parse_cid(header["cap"].removeprefix("ipfs://"))
    except (AttributeError, ValueError):
        return Reason.CAPABILITY_UNREADABLE
    return multihash(cid) or Reason.CAPABILITY_UNREADABLE


def _decoded(block: bytes) -> Any:
    try:
        return decode_dag_cbor(block)
    except (ValueError, RecursionError):
        return None


_CAPABILITY = {"h": ("t",), "p": ("aud", "domain", "iat", "iss", "nonce", "version"), "s": ("t", "s")}


def _read_capability(block: bytes) -> bool | Reason:
    fields = _decoded(block)
    if not isinstance(fields, dict):
        return Reason.CAPABILITY_UNREADABLE
    for part, names in _CAPABILITY.items():
        held = fields.get(part)
        if not isinstance(held, dict) or not all(isinstance(held.get(name), str) for name in names):
            return Reason.CAPABILITY_UNREADABLE
    return True


def _read_proof(block: bytes) -> _Link | Reason:
    fields = _decoded(block)
    if not isinstance(fields, dict) or not {"chainId", "root", "txHash", "txType"} <= fields.keys():
        return Reason.PROOF_UNREADABLE
    root = fields["root"]
    if not isinstance(fields["chainId"], str) or not isinstance(fields["txType"], str) or not isinstance(root, bytes):
        return Reason.PROOF_UNREADABLE
    usual = len(root) < _SHORT and block.startswith(b"\xa4\x64root\xd8\x2a\x58%c\x00%b\x66txHash\xd8\x2a" % (len(root) + 1, root))
    return _link_to(root) if usual or {"root", "txHash"} <= linked_keys(block) else Reason.PROOF_UNREADABLE


def _read_node(block: bytes) -> _Node | Reason:
    links = _read_links(block)
    if links is not None:
        return links
    items = _decoded(block)
    if not isinstance(items, list):
        return Reason.WITNESS_UNREADABLE
    return tuple(_link_to(item) if linked else None for item, linked in zip(items, linked_items(block), strict=True))


def _read_links(block: bytes) -> _Node | None:
    """The links of a list of up to 23 links, each in its shortest form, which needs no decoder; None: it is something else."""
    links = []
    at = 1
    while block.startswith(b"\xd8\x2a\x58", at) and at + 5 < len(block) and not block[at + 4]:
        end = at + 4 + block[at + 3]
        cid = block[at + 5 : end]
        of_cid = multihash(cid)
        if of_cid is None or block[at + 3] < _ONE_BYTE:
            return None
        links.append((cid, of_cid))
        at = end
    return tuple(links) if at == len(block) and len(links) < _ONE_BYTE and block[:1] == bytes([0x80 + len(links)]) else None


def _link_to(cid: bytes) -> _Link:
    return cid, multihash(cid) or cid
