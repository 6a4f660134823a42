"""The blocks that events share: capabilities, proofs and witness nodes, each fetched and read about once (FORMAT.md)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa
from libipld import decode_dag_cbor

from operators.encoding.cid import Cid, read_cid
from operators.encoding.dagcbor import is_beyond_node, linked_items, linked_keys
from operators.schemas import Reason

FetchBlocks = Callable[[pa.Array], dict[bytes, bytes]]
"""From distinct multihashes to those blocks of them that the database holds."""

REMEMBERED_BLOCKS = 32_768
"""Shared blocks of one generation, and there are two; of at most 600 bytes each."""

_SHORT = 255
"""A link to a CID from this length on has a longer head."""

Content = TypeVar("Content")
Link = Cid
"""What a link leads to."""
Node = tuple[Link | None, ...]
"""The links of a witness node by index; None: that item is no link."""


@dataclass(slots=True)
class SharedBlocks(Generic[Content]):
    """What is in the blocks that events share, by multihash; a reason stands for one that is of no use."""

    fetch: FetchBlocks
    read: Callable[[bytes], Content | Reason]
    missing: Reason
    """Stands for a block that is not there."""
    recent: dict[bytes, Content | Reason] = field(default_factory=dict)
    older: dict[bytes, Content | Reason] = field(default_factory=dict)

    def get(self, wanted: set[bytes]) -> dict[bytes, Content | Reason]:
        """What is in each of the blocks; those not remembered are fetched in one call."""
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
                found[key] = self.recent[key] = (
                    self.read(blocks[key]) if key in blocks else self.missing
                )
        return found

    def forget(self) -> None:
        """Drop what has not been wanted for a generation."""
        if len(self.recent) >= REMEMBERED_BLOCKS:
            self.older, self.recent = self.recent, {}


def _decoded(block: bytes) -> Any:
    try:
        return decode_dag_cbor(block)
    except (ValueError, RecursionError):
        return None


_CAPABILITY = {
    "h": ("t",),
    "p": ("aud", "domain", "iat", "iss", "nonce", "version"),
    "s": ("t", "s"),
}


def read_capability(block: bytes) -> bool | Reason:
    """Whether a block is a capability `{h: {t}, p: {aud, domain, iat, iss, nonce, version, ...}, s: {t, s}}`."""
    fields = _decoded(block)
    if not isinstance(fields, dict):
        return Reason.CAPABILITY_UNREADABLE
    for part, names in _CAPABILITY.items():
        held = fields.get(part)
        if not isinstance(held, dict) or not all(isinstance(held.get(name), str) for name in names):
            return Reason.CAPABILITY_UNREADABLE
    return True


def read_proof(block: bytes) -> Link | Reason:
    """The root that a proof `{chainId: text, root: link, txHash: link, txType: text}` names."""
    fields = _decoded(block)
    if not isinstance(fields, dict) or not {"chainId", "root", "txHash", "txType"} <= fields.keys():
        return Reason.PROOF_UNREADABLE
    root = fields["root"]
    if (
        not isinstance(fields["chainId"], str)
        or not isinstance(fields["txType"], str)
        or not isinstance(root, bytes)
    ):
        return Reason.PROOF_UNREADABLE
    usual = len(root) < _SHORT and block.startswith(
        b"\xa4\x64root\xd8\x2a\x58%c\x00%b\x66txHash\xd8\x2a" % (len(root) + 1, root)
    )
    return (
        _link_to(root)
        if usual or {"root", "txHash"} <= linked_keys(block)
        else Reason.PROOF_UNREADABLE
    )


def read_node(block: bytes) -> Node | Reason:
    """The links of a witness node, a list."""
    items = _decoded(block)
    if not isinstance(items, list) or is_beyond_node(block, items):
        return Reason.WITNESS_UNREADABLE
    return tuple(
        _link_to(item) if linked else None
        for item, linked in zip(items, linked_items(block), strict=True)
    )


def _link_to(cid: bytes) -> Link:
    return read_cid(cid) or Cid(cid, None, cid)
