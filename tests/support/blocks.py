"""Blocks of events to decode: valid ones of all kinds, and pieces to make others by hand."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import anchor, block, capability, data_event, init_event, time_event
from operators.decode import decode_events
from operators.encoding.columns import short
from operators.encoding.envelope import payload_multihash
from operators.encoding.layouts import DATA_LAYOUT, DATA_WITH_HEADER, TIME_LAYOUT, read_alike
from operators.encoding.values import DECODED_TOGETHER
from operators.event import Links, read_event
from operators.schemas import LEFT, LINKS, RAW

SIGNED, UNSIGNED = init_event(1), init_event(2, signed=False)
JOSE_CID, CBOR_CID = SIGNED.cid, UNSIGNED.cid
KECCAK_CID = b"\x01\x71\x1b\x20" + bytes(range(32))
ETH_TX_CID = b"\x01\x93\x01\x1b\x20" + bytes(range(32))
IDENTITY_CID = b"\x01\x55\x00\x03abc"
CIDS = (JOSE_CID, CBOR_CID, KECCAK_CID, ETH_TX_CID, IDENTITY_CID)

FEW = 3
"""Values that are decoded in one call, so that a small batch takes several."""


class Raw(NamedTuple):
    """The blocks of one event, as the source hands them over; empty: not in the database."""

    root: bytes
    payload: bytes = b""


def envelope(payload: bytes, **extra: DagCborTypes) -> bytes:
    """A root block that names `payload`; with other keys it is in no layout."""
    signatures: DagCborTypes = [{"protected": b"{}" * 20, "signature": bytes(64)}]
    return encode_dag_cbor({"payload": block(payload).cid, "signatures": signatures, **extra})


def signed(fields: dict[str, DagCborTypes], **extra: DagCborTypes) -> Raw:
    payload = encode_dag_cbor(fields)
    return Raw(envelope(payload, **extra), payload)


def batch_of(raws: Sequence[Raw]) -> pa.RecordBatch:
    rows = [
        {
            "rowid": row,
            "cid": b"own cid %d" % row,
            "root": raw.root,
            "payload": raw.payload,
            "order_key": b"",
            "event_blocks": b"",
        }
        for row, raw in enumerate(raws)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW)


def assert_read_row_by_row(raws: Sequence[Raw], rows: slice = slice(None)) -> None:
    """Decode rows of a batch: the result must be what `read_event` gives for each, in order."""
    batch = batch_of(raws)[rows]
    decoded = decode_events(batch)
    links, rejected = [], []
    for row in batch.to_pylist():
        event = read_event(row["root"], row["payload"])
        if isinstance(event, Links):
            links.append(
                {
                    "rowid": row["rowid"],
                    "cid": row["cid"],
                    "stream": event.stream or row["cid"],
                    "prev": event.prev,
                    "kind": event.kind,
                }
            )
        else:
            rejected.append(
                {
                    "rowid": row["rowid"],
                    "cid": row["cid"],
                    "stream": None,
                    "prev": None,
                    "reason": str(event),
                    "cause": None,
                }
            )
    assert decoded.links.schema == LINKS
    assert decoded.rejected.schema == LEFT
    assert decoded.links.to_pylist() == links
    assert decoded.rejected.to_pylist() == rejected
    if batch.num_rows > FEW:
        assert _read_alike(batch, decoded_together=FEW) == _read_alike(batch)


def _read_alike(
    batch: pa.RecordBatch, decoded_together: int = DECODED_TOGETHER
) -> list[list[object]]:
    """The columns of all groups that are read alike."""
    every = np.ones(batch.num_rows, dtype=np.bool_)
    return [
        [values.tolist() for values in places]
        for column in ("root", "payload")
        for layout in (DATA_LAYOUT, DATA_WITH_HEADER, TIME_LAYOUT)
        for places in read_alike(batch[column], every, layout, decoded_together)
    ]


@cache
def valid() -> tuple[Raw, ...]:
    """Events of all kinds, with all hashes, codecs, forms of envelopes, and blocks of any size."""
    cap = capability("did:pkh:eip155:1:0x0", 1)
    events = [SIGNED, UNSIGNED, init_event(3, data={"name": "x" * 300}, cap=cap)]
    for stream in (SIGNED.stream, UNSIGNED.stream):
        for prev in CIDS:
            events += [
                data_event(stream, prev, [{"op": "add", "path": "/n", "value": 1}]),
                data_event(stream, prev, None, cap=cap),
            ]
            events += [
                data_event(stream, prev, [], header={"shouldIndex": True}),
                data_event(stream, prev, "long " * 20_000),
            ]
            events += [
                time_event(stream, prev),
                time_event(stream, prev, anchor([prev], depth=3)[0]),
            ]
    raws = []
    for event in events:
        contents = {one.multihash: one.content for one in event.blocks}
        root = next(one for one in event.blocks if one.is_root)
        raws.append(Raw(root.content, contents.get(payload_multihash(root.content) or b"", b"")))
    plain: dict[str, DagCborTypes] = {"id": CID(JOSE_CID), "prev": CID(CBOR_CID), "data": 1}
    raws += [
        signed(plain, link=CID(CBOR_CID)),
        signed(plain, aaa=1),
        signed({**plain, "header": {}}),
        signed({**plain, "zzzz": b"z" * 300}),
    ]
    raws += [signed({**plain, "id": CID(cid)}) for cid in CIDS]
    payload = raws[5].payload
    raws.append(
        Raw(encode_dag_cbor({"payload": KECCAK_CID, "signatures": [{"signature": b"s"}]}), payload)
    )
    raws.append(Raw(encode_dag_cbor({"payload": block(payload).cid, "signatures": []}), payload))
    return tuple(raws)


def link(cid: bytes) -> bytes:
    return b"\xd8\x2a\x58" + bytes([len(cid) + 1, 0]) + cid


def bytes_item(content: bytes) -> bytes:
    return b"\x59" + len(content).to_bytes(2, "big") + content


ID, PREV = b"\x62id" + link(JOSE_CID), b"\x64prev" + link(JOSE_CID)
PREV_AS_BYTES = b"\x64prev\x58\x25" + JOSE_CID
HEADER = b"\x66header\xa0"


def short_bytes(digest: bytes) -> bytes:
    """The two words that stand for a digest in this process."""
    return short(np.frombuffer(digest, dtype=np.uint64)).tobytes()
