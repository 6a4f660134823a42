"""The check of an event by itself: finds the reason why a node could not serve it, if any."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from operators.check.shared_blocks import LARGEST_BLOCK, FetchBlocks, Node, SharedBlocks
from operators.encoding.cid import CBOR, Cid, is_multihash, read_cid, read_cid_text
from operators.encoding.columns import Rows
from operators.encoding.dagcbor import encode_head
from operators.encoding.envelope import Envelope, read_envelope
from operators.encoding.event_blocks import unpack
from operators.encoding.protected import read_cap
from operators.encoding.typed import Value
from operators.schemas import Reason

FetchEventBlocks = Callable[[pa.Array], pa.Array]
"""A function from distinct CIDs of events to all event blocks of each, packed."""

Needed = dict[int, list[Cid]]
"""The CIDs of the blocks that events need, each event's own first, by row."""

Failures = dict[int, Reason]


@dataclass(slots=True)
class EventCheck:
    """Checks events one by one; what they share is fetched and read for all of them together."""

    capabilities: SharedBlocks[bool]
    proofs: SharedBlocks[Cid]
    nodes: SharedBlocks[Node]
    fetch: FetchBlocks
    """Finds blocks that are listed though nothing needs them."""
    fetch_event_blocks: FetchEventBlocks | None
    """None: the event blocks that come with the events are all there are."""

    def fail_signed(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Check signed events one by one: those that a node could not serve."""
        failed: Failures = {}
        needed: Needed = {}
        named: dict[int, bytes] = {}
        for row, own in zip(rows.tolist(), _own(raw, rows), strict=True):
            envelope, payload = raw["root"][row], raw["payload"][row]
            signed = _envelope(envelope.as_py())
            cid = signed.payload
            if not signed.signatures or cid is None:
                failed[row] = Reason.SIGNATURES_EMPTY
                continue
            needed[row] = [own, cid]
            capability = named_capability(signed.protected)
            if capability is not None:
                named[row] = capability.multihash
                needed[row].append(capability)
            if _is_too_large(own, envelope) or _is_too_large(cid, payload):
                failed[row] = Reason.BLOCK_TOO_LARGE
        capabilities = self.capabilities.get(set(named.values()))
        failed |= {
            row: found
            for row, name in named.items()
            if isinstance(found := capabilities[name], Reason)
        }
        return self._unserved(raw, needed) | failed

    def fail_time(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Check time events one by one: those that a node could not serve."""
        failed: Failures = {}
        for first in range(0, len(rows), WAYS_TOGETHER):
            failed |= self._fail_some_times(raw, rows[first : first + WAYS_TOGETHER])
            self.nodes.forget()
        return failed

    def _fail_some_times(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        blocks = raw["root"].take(pa.array(rows)).to_pylist()
        ways = [
            _Way.of(row, own, block)
            for row, own, block in zip(rows.tolist(), _own(raw, rows), blocks, strict=True)
        ]
        proofs = self.proofs.get({way.proof for way in ways})
        for way in ways:
            way.begin(proofs[way.proof])
        # all go down their trees at once, so that what they want next is fetched in one look-up
        going = [way for way in ways if way.path]
        while going:
            nodes = self.nodes.get({way.at.multihash for way in going})
            going = [way for way in going if way.descend(nodes[way.at.multihash])]
        failed = {way.row: way.failure for way in ways if way.failure is not None}
        needed = {way.row: way.needed for way in ways if way.failure is None}
        return self._unserved(raw, needed) | failed

    def fail_unsigned(self, raw: pa.RecordBatch, rows: Rows) -> Failures:
        """Check unsigned init events: those that a node could not serve."""
        own = _own(raw, rows)
        failed = {
            row: Reason.BLOCK_TOO_LARGE
            for row, cid in zip(rows.tolist(), own, strict=True)
            if _is_too_large(cid, raw["root"][row])
        }
        return (
            self._unserved(raw, {row: [cid] for row, cid in zip(rows.tolist(), own, strict=True)})
            | failed
        )

    def _unserved(self, raw: pa.RecordBatch, needed: Needed) -> Failures:
        """Those of the rows whose event blocks are not what a node needs."""
        found = raw["event_blocks"].take(pa.array(needed.keys(), pa.int64()))
        failed = self._why_not_listed(needed, found)
        if not failed or self.fetch_event_blocks is None:
            return failed
        # blocks that were listed at another time than the event was stored are looked up
        cids = raw["cid"].take(pa.array(failed.keys(), pa.int64()))
        again = {row: needed[row] for row in failed}
        return self._why_not_listed(again, self.fetch_event_blocks(cids))

    def _why_not_listed(self, needed: Needed, event_blocks: pa.Array) -> Failures:
        """Why the event blocks of these rows are not what a node needs, by row."""
        failed: Failures = {}
        spare: dict[int, set[bytes]] = {}
        for (row, cids), packed in zip(needed.items(), event_blocks, strict=True):
            entries = list(unpack(packed.as_py()))
            wanted = {(cid.codec, cid.multihash) for cid in cids}
            listed = {(entry.codec, entry.multihash) for entry in entries}
            roots = {(entry.codec, entry.multihash) for entry in entries if entry.is_root}
            if any(entry.codec < 0 or not is_multihash(entry.multihash) for entry in entries):
                failed[row] = Reason.EVENT_BLOCKS_UNREADABLE
            elif not listed >= wanted:
                failed[row] = Reason.NOT_LISTED
            elif roots != {(cids[0].codec, cids[0].multihash)}:
                failed[row] = Reason.OTHER_ROOT
            elif spare_blocks := {block for _, block in listed - wanted}:
                spare[row] = spare_blocks
        return failed | self._spare_failures(spare)

    def _spare_failures(self, spare: dict[int, set[bytes]]) -> Failures:
        """The rows that list a block that they do not need and that a node can't read."""
        failed: Failures = {}
        wanted = sorted(set().union(*spare.values()))
        for blocks in self.fetch(pa.array(wanted, pa.binary())):
            for block, content in blocks.items():
                if content and len(block) + len(content) <= LARGEST_BLOCK:
                    continue
                reason = Reason.BLOCK_TOO_LARGE if content else Reason.EVENT_BLOCKS_UNREADABLE
                failed |= {row: reason for row, listed in spare.items() if block in listed}
        return failed


WAYS_TOGETHER = 32
"""Time events that go down their trees at the same time. One node of each is in memory, and may
have megabytes."""

MOST_STEPS = 1024
"""The most indices of a path. Each costs a look-up of up to a millisecond, and no tree of events is
so deep."""

_NO_INDEX = 2**64
"""Stands for an index that is none: no list is so long."""


@dataclass(slots=True)
class _Way:
    """The way from a time event's proof down to what it anchors."""

    row: int
    proof: bytes
    """Multihash of the proof."""
    prev: Cid
    path: list[int]
    """The indices still to follow, the next one last."""
    needed: list[Cid]
    """The blocks that the event needs, its own first."""
    at: Cid
    """The node to read next."""
    failure: Reason | None = None

    @classmethod
    def of(cls, row: int, own: Cid, block: bytes) -> "_Way":
        names = ("id", "prev", "proof", "path")
        fields = Value(block).fields(names, len(names)) or {}
        stream, prev, proof = (fields[name].cid() or own for name in names[:3])
        text = fields["path"].text() or ""
        way = cls(row, proof.multihash, prev, [], [own, proof], own)
        if len(own.binary) + len(block) > LARGEST_BLOCK:
            way.fail(Reason.BLOCK_TOO_LARGE)
        elif text.count("/") >= MOST_STEPS:
            way.fail(Reason.WITNESS_PATH)
        elif own.codec != CBOR or block != _time_block(stream, prev, proof, text):
            way.fail(Reason.SERVED_AS_OTHER)
        elif text:
            way.path = [_index(part) for part in reversed(text.split("/"))]
        return way

    def fail(self, reason: Reason) -> None:
        self.failure = reason
        self.path.clear()

    def begin(self, root: "Cid | Reason") -> None:
        if self.failure is not None:
            return
        if isinstance(root, Reason):
            self.fail(root)
        elif self.path:
            self.at = root
        elif root != self.prev:
            self.failure = Reason.WITNESS_PATH

    def descend(self, node: "Node | Reason") -> bool:
        """Go down by one node; whether another is wanted."""
        if isinstance(node, Reason):
            self.failure = node
            return False
        self.needed.append(self.at)
        step = self.path.pop()
        link = node.link(step)
        if link is not None and self.path:
            self.at = link
            return True
        if link != self.prev:
            self.failure = Reason.WITNESS_PATH
        return False


def _time_block(stream: Cid, prev: Cid, proof: Cid, path: str) -> bytes:
    """The time event as a node encodes it."""
    text = path.encode()
    return b"".join(
        (
            b"\xa4\x62id",
            _encoded_link(stream),
            b"\x64path",
            encode_head(3, len(text)),
            text,
            b"\x64prev",
            _encoded_link(prev),
            b"\x65proof",
            _encoded_link(proof),
        )
    )


def _encoded_link(cid: Cid) -> bytes:
    return b"\xd8\x2a" + encode_head(2, len(cid.binary) + 1) + b"\x00" + cid.binary


def _envelope(block: bytes) -> Envelope:
    """An envelope that has been read before."""
    return read_envelope(Value(block)) or Envelope(None, 0, b"")


def _link(cid: bytes) -> Cid:
    """A CID that the decoder has accepted."""
    return read_cid(cid) or Cid(cid, None, cid)


def _index(part: str) -> int:
    """An index of a path as a node reads it; `_NO_INDEX` if it is none."""
    digits = part.removeprefix("+")
    if not digits.isascii() or not digits.isdecimal():
        return _NO_INDEX
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MOST_DIGITS else _NO_INDEX


_MOST_DIGITS = 20
"""The most digits of an index that fits 64 bits, without zeros before it."""


def _own(raw: pa.RecordBatch, rows: Rows) -> list[Cid]:
    """The CIDs of some events."""
    return [_link(cid) for cid in raw["cid"].take(pa.array(rows)).to_pylist()]


def _is_too_large(cid: Cid, block: pa.Scalar) -> bool:
    return bool(len(cid.binary) + block.as_buffer().size > LARGEST_BLOCK)


def named_capability(protected: bytes) -> Cid | None:
    """The capability that a protected header names, None if a node sees none in it."""
    uri = read_cap(protected)
    if uri is None or not uri.startswith(_SCHEME):
        return None
    return read_cid_text(uri.removeprefix(_SCHEME))


_SCHEME = "ipfs://"
