"""The blocks that events share: capabilities, proofs and witness nodes (FORMAT.md).

Each is fetched and read about once; what is remembered of them is bounded in bytes.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import pyarrow as pa

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import LIST, item_offsets, link_at, skip
from operators.encoding.known_fields import (
    Read,
    fields_of,
    link,
    one_of,
    optional,
    read_known,
    text,
    texts,
    untagged,
)
from operators.encoding.readable import Reading, read, value_end
from operators.schemas import Reason

FetchBlocks = Callable[[pa.Array], Iterator[dict[bytes, bytes]]]
"""From distinct multihashes to those blocks of them that the database holds: some at a time, since
each may have megabytes."""

LARGEST_BLOCK = 4 * 1024 * 1024
"""Bytes of a block and its CID together: a node reads events as CAR files, and refuses a longer
part of one (FORMAT.md, What a node needs to serve an event)."""

REMEMBERED_BYTES = 8 * 1024 * 1024
"""Of the shared blocks of one generation, and there are two."""

ENTRY_BYTES = 600
"""Bytes that Python takes for what is remembered of a block, without the block itself."""

SMALL = 1024
"""The most bytes of a small block: a capability has about 700, a proof less than 200."""

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
        for blocks in self.fetch(pa.array(absent, pa.binary())):
            while blocks:
                # each is dropped when it has been read
                key, block = blocks.popitem()
                found[key] = self.read(block)
        for key in absent:
            self.recent[key] = found.setdefault(key, self.missing)
            self.size += _bytes_of(found[key])
        return found

    def forget(self) -> None:
        """Drop what has not been wanted for a generation."""
        if self.size >= REMEMBERED_BYTES:
            self.older, self.recent, self.size = self.recent, {}, 0


def _bytes_of(content: object) -> int:
    return ENTRY_BYTES + (content.size if isinstance(content, Node) else 0)


def _is_too_large(block: bytes) -> bool:
    return len(block) + _CID_BYTES > LARGEST_BLOCK


_CID_BYTES = 36
"""Of the CID under which a node lists nearly every block."""

HEADER_TYPES = frozenset({"eip4361", "caip122"})
SIGNATURE_TYPES = frozenset(
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
GRANT = ("aud", "domain", "iat", "iss", "nonce", "version")
"""Texts of a capability's payload that must be there."""
MAYBE_GRANT = ("exp", "nbf", "requestId", "statement")
"""Texts of it that may be null or absent."""

_CAPABILITY: dict[str, Read[Mapping[str, str | None]]] = {
    "h": fields_of({"t": one_of(HEADER_TYPES)}),
    "p": fields_of(
        {
            **dict.fromkeys(GRANT, text),
            **dict.fromkeys(MAYBE_GRANT, optional(text)),
            "resources": optional(texts),
        }
    ),
    "s": fields_of({"t": one_of(SIGNATURE_TYPES), "s": text, "m": optional(untagged)}),
}
_NEEDED = {"h": {"t"}, "p": {*GRANT}, "s": {"t", "s"}}
"""The fields of each part that must be there."""


def read_capability(block: bytes) -> bool | Reason:
    """Whether a block is a capability (FORMAT.md, The four kinds of event)."""
    parts = None if _is_too_large(block) else read_known(block, _CAPABILITY)
    if parts is None or not all(
        parts.get(part, {}).keys() >= names for part, names in _NEEDED.items()
    ):
        return Reason.CAPABILITY_UNREADABLE
    return True


_PROOF: dict[str, Read[Cid | str]] = {
    "chainId": text,
    "root": link,
    "txHash": link,
    "txType": text,
}


def read_proof(block: bytes) -> Cid | Reason:
    """The root that a proof `{chainId: text, root: link, txHash: link, txType: text}` names."""
    fields = None if _is_too_large(block) else read_known(block, _PROOF)
    if fields is None or fields.keys() < _PROOF.keys():
        return Reason.PROOF_UNREADABLE
    root = fields["root"]
    return root if isinstance(root, Cid) else Reason.PROOF_UNREADABLE


class Node:
    """The items of a witness node: its block, and where in it each item begins."""

    def __init__(self, block: bytes, offsets: "array[int]") -> None:
        self._block = block
        self._offsets = offsets
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
    reading = Reading.NOTHING if _is_too_large(block) else read(block, untagged=False)
    if reading is Reading.NOTHING or block[0] >> 5 != LIST:
        return Reason.WITNESS_UNREADABLE
    # a value that is read with all types known may have a key or a link in parts
    item_end = skip if reading is Reading.STRICT else _lax_end
    return Node(block, item_offsets(block, item_end))


def _lax_end(block: bytes, at: int) -> int:
    return value_end(block, at, untagged=False) or len(block)
