"""The blocks that events share: capabilities, proofs and witness nodes (FORMAT.md).

Each is fetched and read about once; what is remembered of them is bounded in bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import pyarrow as pa

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import LIST, TAG, TEXT, item_offsets, link_at
from operators.encoding.readable import MAX_DEPTH, MAX_TYPED_DEPTH, can_read
from operators.encoding.typed import Value, given
from operators.schemas import Reason

FetchBlocks = Callable[[pa.Array], dict[bytes, bytes]]
"""From distinct multihashes to those blocks of them that the database holds."""

LARGEST_BLOCK = 4 * 1024 * 1024
"""Bytes of a block and its CID together: a node reads events as CAR files, and refuses a longer
part of one (FORMAT.md, What a node needs to serve an event)."""

REMEMBERED_BYTES = 8 * 1024 * 1024
"""Of the shared blocks of one generation, and there are two."""

ENTRY_BYTES = 600
"""What Python takes for what is remembered of a block, beside the block itself."""

FEWEST_TOGETHER, MOST_TOGETHER = 4, 64
"""Blocks that are fetched in one call: more once they turn out to be small, because they may have
megabytes each."""

_SMALL = 1024
"""Bytes; a capability has about 700, a proof less than 200."""

Content = TypeVar("Content")


@dataclass(slots=True)
class SharedBlocks(Generic[Content]):
    """What is in the blocks that events share, by multihash.

    A reason stands for a block that is of no use.
    """

    fetch: FetchBlocks
    read: Callable[[bytes], Content | Reason]
    missing: Reason
    """Stands for a block that is not there."""
    size: int = 0
    """About how many bytes are recent."""
    recent: dict[bytes, Content | Reason] = field(default_factory=dict)
    older: dict[bytes, Content | Reason] = field(default_factory=dict)

    def get(self, wanted: set[bytes]) -> dict[bytes, Content | Reason]:
        """What is in each of the blocks; those not remembered are fetched."""
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
                self.size += _bytes_of(content)
            found[key] = content
        first, count = 0, FEWEST_TOGETHER
        while first < len(absent):
            some = absent[first : first + count]
            blocks = self.fetch(pa.array(some, pa.binary()))
            first += count
            size = sum(map(len, blocks.values()))
            count = min(2 * count, MOST_TOGETHER) if size <= count * _SMALL else FEWEST_TOGETHER
            for key in some:
                block = blocks.pop(key, None)
                found[key] = self.recent[key] = self.missing if block is None else self.read(block)
                self.size += _bytes_of(found[key])
        return found

    def forget(self) -> None:
        """Drop what has not been wanted for a generation."""
        if self.size >= REMEMBERED_BYTES:
            self.older, self.recent, self.size = self.recent, {}, 0


def _bytes_of(content: object) -> int:
    return ENTRY_BYTES + (content.size if isinstance(content, Node) else 0)


def _readable(block: bytes, most: int = MAX_TYPED_DEPTH) -> bool:
    """Whether a block is a value that is neither too large nor too deep for a node."""
    return len(block) + _CID_BYTES <= LARGEST_BLOCK and can_read(block, most, untagged=False)


_CID_BYTES = 36
"""Of the CID under which a node lists nearly every block."""

_HEADER_TYPES = frozenset({"eip4361", "caip122"})
_SIGNATURE_TYPES = frozenset(
    {
        "eip191",
        "eip1271",
        "solana:ed25519",
        "tezos:ed25519",
        "stacks:secp256k1",
        "webauthn:p256",
        "jws",
    }
)
_GRANT = ("aud", "domain", "iat", "iss", "nonce", "version")
"""Texts of a capability's payload that must be there."""
_MAYBE_GRANT = ("exp", "nbf", "requestId", "statement")
"""Texts of it that may be null or absent."""

_METADATA_DEPTH = 126
"""Lists and maps inside each other in the metadata of a capability's signature: they are read
untagged, three steps deep."""


def read_capability(block: bytes) -> bool | Reason:
    """Whether a block is a capability (FORMAT.md, The four kinds of event)."""
    return (_readable(block) and _is_capability(Value(block))) or Reason.CAPABILITY_UNREADABLE


def _is_capability(capability: Value) -> bool:
    header, grant, signature = (
        parts.map_fields(names) if parts is not None else {}
        for parts, names in zip(
            map(capability.map_fields(("h", "p", "s")).get, ("h", "p", "s")),
            (("t",), (*_GRANT, *_MAYBE_GRANT, "resources"), ("m", "s", "t")),
            strict=True,
        )
    )
    resources, metadata = given(grant.get("resources")), signature.get("m")
    return (
        _is_one_of(header.get("t"), _HEADER_TYPES)
        and _is_one_of(signature.get("t"), _SIGNATURE_TYPES)
        and _is_text(signature.get("s"))
        and all(_is_text(grant.get(name)) for name in _GRANT)
        and all(given(grant.get(name)) is None or _is_text(grant[name]) for name in _MAYBE_GRANT)
        and (resources is None or resources.is_texts())
        and (metadata is None or metadata.is_any(_METADATA_DEPTH))
    )


def _is_text(value: Value | None) -> bool:
    return value is not None and value.is_text()


def _is_one_of(value: Value | None, texts: frozenset[str]) -> bool:
    return value is not None and value.kind == TEXT and value.text() in texts


def read_proof(block: bytes) -> Cid | Reason:
    """The root that a proof `{chainId: text, root: link, txHash: link, txType: text}` names."""
    if not _readable(block):
        return Reason.PROOF_UNREADABLE
    names = ("chainId", "root", "txHash", "txType")
    fields = Value(block).map_fields(names)
    readable = (
        len(fields) == len(names)
        and fields["chainId"].is_text()
        and fields["txType"].is_text()
        and fields["root"].kind == fields["txHash"].kind == TAG
    )
    root = fields["root"].cid() if readable else None
    return root or Reason.PROOF_UNREADABLE


class Node:
    """The items of a witness node: its block, and where in it each item begins."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._offsets = item_offsets(block)
        self.size = len(block) + self._offsets.itemsize * len(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def link(self, index: int) -> Cid | None:
        """The link at this index, None if there is none."""
        if index >= len(self._offsets):
            return None
        cid = link_at(self._block, self._offsets[index])
        return None if cid is None else read_cid(cid)


def read_node(block: bytes) -> Node | Reason:
    """The items of a witness node, a list."""
    is_list = _readable(block, MAX_DEPTH) and Value(block).kind == LIST
    return Node(block) if is_list else Reason.WITNESS_UNREADABLE
