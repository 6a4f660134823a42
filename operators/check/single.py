"""The check of an event by itself: finds the reason why a node could not serve it, if there is one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from libipld import decode_dag_cbor

from operators.check.shared import Link, Node, SharedBlocks
from operators.check.usual import SHA2_256
from operators.encoding.cid import multihash, parse_cid, root_multihashes
from operators.encoding.columns import DIGEST
from operators.encoding.layouts import Rows
from operators.schemas import Reason

MULTIHASH_BYTES = len(SHA2_256) + DIGEST
"""Of every multihash that a node lists."""

FetchListed = Callable[[pa.Array], pa.Array]
"""From distinct CIDs of events to the multihashes of the blocks that are listed for each, one
behind the other."""

Failures = dict[int, Reason]


@dataclass(slots=True)
class SingleCheck:
    """Checks events one by one; what they share is fetched and read for all of them together."""

    capabilities: SharedBlocks[bool]
    proofs: SharedBlocks[Link]
    nodes: SharedBlocks[Node]
    fetch_listed: FetchListed | None
    """None: the lists that come with the events are all there is."""

    def fail_signed(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Those of the rows, signed events, that a node could not serve."""
        failed: Failures = {}
        needed: dict[int, list[bytes]] = {}
        named: dict[int, bytes] = {}
        envelopes = raw["root"].take(pa.array(rows)).to_pylist()
        for row, root, envelope in zip(rows.tolist(), _roots(raw, rows), envelopes, strict=True):
            fields = decode_dag_cbor(envelope)
            if not fields["signatures"]:
                failed[row] = Reason.SIGNATURES_EMPTY
                continue
            needed[row] = [root, multihash(fields["payload"]) or b""]
            name = named_capability(_protected(fields["signatures"][0]))
            if isinstance(name, Reason):
                failed[row] = name
            elif name is not None:
                named[row] = name
                needed[row].append(name)
        capabilities = self.capabilities.get(set(named.values()))
        failed |= {
            row: found
            for row, name in named.items()
            if isinstance(found := capabilities[name], Reason)
        }
        return self._not_listed(raw, needed) | failed

    def fail_time(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Those of the rows, time events, that a node could not serve."""
        blocks = raw["root"].take(pa.array(rows)).to_pylist()
        ways = [
            _Way.of(row, root, decode_dag_cbor(block))
            for row, root, block in zip(rows.tolist(), _roots(raw, rows), blocks, strict=True)
        ]
        proofs = self.proofs.get({way.proof for way in ways})
        for way in ways:
            way.begin(proofs[way.proof])
        # all go down their trees at once, so that what they want next is fetched in one look-up
        going = [way for way in ways if way.path]
        while going:
            nodes = self.nodes.get({way.at for way in going})
            going = [way for way in going if way.descend(nodes[way.at])]
        failed = {way.row: way.failure for way in ways if way.failure is not None}
        return (
            self._not_listed(raw, {way.row: way.needed for way in ways if way.failure is None})
            | failed
        )

    def fail_unsigned(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Those of the rows, unsigned init events, that a node could not serve; they are their root block alone."""
        return self._not_listed(
            raw, {row: [root] for row, root in zip(rows.tolist(), _roots(raw, rows), strict=True)}
        )

    def _not_listed(self, raw: pa.RecordBatch, needed: dict[int, list[bytes]]) -> Failures:
        """Those of the rows for which not every block that they need is listed."""
        rows = _lacking(needed, raw["listed"].take(pa.array(needed.keys(), pa.int64())))
        if rows and self.fetch_listed is not None:
            # what was listed at another time than the event was stored does not lie beside it
            everything = self.fetch_listed(raw["cid"].take(pa.array(rows, pa.int64())))
            rows = _lacking({row: needed[row] for row in rows}, everything)
        return dict.fromkeys(rows, Reason.NOT_LISTED)


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
        return cls(
            row,
            proof,
            fields["prev"],
            [_index(part) for part in reversed(text.split("/"))] if text else [],
            [root, proof],
        )

    def begin(self, root: "Link | Reason") -> None:
        if isinstance(root, Reason):
            self.failure = root
            self.path.clear()
        elif self.path:
            self.at = root[1]
        elif root[0] != self.prev:
            self.failure = Reason.WITNESS_PATH

    def descend(self, node: "Node | Reason") -> bool:
        """Go down by one node; whether another is wanted."""
        if isinstance(node, Reason):
            self.failure = node
            return False
        self.needed.append(self.at)
        step = self.path.pop()
        link = node[step] if step < len(node) else None
        if link is not None and self.path:
            self.at = link[1]
            return True
        if link is None or link[0] != self.prev:
            self.failure = Reason.WITNESS_PATH
        return False


def _index(part: str) -> int:
    return (
        int(part)
        if part.isascii() and part.isdecimal() and len(part) < len(str(_NO_INDEX))
        else _NO_INDEX
    )


def _roots(raw: pa.RecordBatch, rows: Rows) -> list[bytes]:
    """The multihashes of the root blocks of some events."""
    multihashes: list[bytes] = root_multihashes(raw["cid"].take(pa.array(rows))).to_pylist()
    return multihashes


def _lacking(needed: dict[int, list[bytes]], lists: pa.Array) -> list[int]:
    """The rows for which not every needed multihash is in their list."""
    lacking = []
    for (row, blocks), listed in zip(needed.items(), lists.to_pylist(), strict=True):
        held = {listed[at : at + MULTIHASH_BYTES] for at in range(0, len(listed), MULTIHASH_BYTES)}
        if not held.issuperset(blocks):
            lacking.append(row)
    return lacking


def _protected(signature: object) -> bytes:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    return protected if isinstance(protected, bytes) else b""


def named_capability(protected: bytes) -> bytes | Reason | None:
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
