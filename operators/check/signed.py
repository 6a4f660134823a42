"""Signed events in the usual form: plain envelopes, checked for a whole batch at once."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from libipld import decode_dag_cbor

from operators.check.event import named_capability
from operators.check.headers import usual_capabilities
from operators.check.lists import CBOR_ENTRY, JOSE_ROOT, lists, own_digests
from operators.check.needs import OpenNeeds, needs_of_signed, pass_met
from operators.check.store import BlockStore
from operators.check.usual import SHA2_256
from operators.encoding.cid import CBOR as CBOR_CODEC
from operators.encoding.cid import Cid
from operators.encoding.columns import (
    DIGEST,
    Digests,
    Mask,
    Rows,
    digests,
    occurrences,
    spans,
)
from operators.encoding.layouts import JOSE_CID, PAYLOAD_AT, PROTECTED_AT, SIGNATURE_FROM_END

HEADER_BYTES = 250
"""Bytes that Python takes for the entry of a protected header, without the header itself."""

LARGEST_ENVELOPE = 1024
"""The most bytes of an envelope that is checked here; one that names a capability has about 450.
The headers of a page are copied, and take eight bytes for each of theirs."""


class SignedCheck:
    """Checks signed events by the shared blocks that are kept.

    Remembers which capabilities protected headers name.
    """

    def __init__(self, store: BlockStore, budget_bytes: int) -> None:
        """Remember `budget_bytes` of headers."""
        self._store, self._budget_bytes = store, budget_bytes
        self._names: dict[bytes, Cid | None] = {}
        self._names_bytes = 0

    def pass_usual(self, raw: pa.RecordBatch, rows: Rows, passed: Mask) -> OpenNeeds:
        """Pass those of the rows, plain envelopes, that a node can serve.

        Returns what the others need of blocks that are not kept.
        """
        # larger ones are looked at alone
        _, begin, end = spans(raw["root"])
        rows = rows[(end - begin)[rows] <= LARGEST_ENVELOPE]
        own, is_jose = own_digests(raw, rows, JOSE_CID)
        rows, own = rows[is_jose], own[is_jose]
        if not len(rows):
            return OpenNeeds.none()
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
        needed = np.stack([payload[none], own[none]], axis=1)
        passed[rows[none[lists(raw, rows[none], needed, (CBOR_ENTRY, JOSE_ROOT))]]] = True
        named = np.flatnonzero(may_be & names_one)
        needed = np.stack([capability[named], payload[named], own[named]], axis=1)
        as_what = (CBOR_ENTRY, CBOR_ENTRY, JOSE_ROOT)
        named = named[lists(raw, rows[named], needed, as_what)]
        return pass_met(self._store, rows[named], needs_of_signed(capability[named]), passed)

    def _named_capabilities(self, headers: pa.Array) -> tuple[Digests, Mask, Mask]:
        """What each of n protected headers names as its capability.

        Three columns: the digest in the name; whether there is a name; whether the name is in the
        usual form, or there is none.
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
        if self._names_bytes >= self._budget_bytes:
            self._names.clear()
            self._names_bytes = 0
        self._names_bytes += len(encoded) + HEADER_BYTES
        name = self._names[encoded] = named_capability(decode_dag_cbor(encoded))
        return name


def _may_name_capability(headers: pa.Array) -> Mask:
    """Which protected headers hold `ipfs`, as the name of a capability does, or an escape."""
    data, start, _ = spans(headers)
    found = np.zeros(len(headers), dtype=np.bool_)
    for sign in (b"ipfs", b"\\"):
        found[np.searchsorted(start, occurrences(data, sign), side="right") - 1] = True
    return found


def _words(each: Iterable[bytes]) -> Digests:
    return np.frombuffer(b"".join(each), dtype=np.uint64).reshape(-1, 4)
