"""Decode: a batch is read like its rows one by one, whatever the blocks hold."""

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given
from hypothesis import strategies as st

from flows.synth.events import block, data_event, sign, time_event
from operators.decode import decode, decode_events
from operators.encoding.envelope import payload_multihash
from operators.encoding.layouts import (
    DATA_LAYOUT,
    DATA_WITH_HEADER,
    TIME_LAYOUT,
    Layout,
    plain_envelopes,
    read_alike,
)
from operators.event import Links, read_event
from operators.schemas import DATA, INIT, TIME, UNSIGNED_INIT, Page, Reason
from tests.support.blocks import (
    CBOR_CID,
    HEADER,
    ID,
    IDENTITY_CID,
    JOSE_CID,
    KECCAK_CID,
    PREV,
    PREV_AS_BYTES,
    SIGNED,
    UNSIGNED,
    Raw,
    assert_read_row_by_row,
    batch_of,
    bytes_item,
    envelope,
    link,
    signed,
    valid,
)
from tests.support.job import run_flow


def test_valid_events_are_read_alike_in_a_batch_and_alone() -> None:
    assert_read_row_by_row(valid())
    assert_read_row_by_row(valid()[::-1])
    assert_read_row_by_row(valid(), slice(3, 17))
    assert not decode_events(batch_of(valid())).rejected.num_rows
    for raw in valid():
        assert_read_row_by_row([raw])


def test_each_kind_is_known_by_its_fields() -> None:
    raws = valid()
    assert read_event(*raws[0]) == Links(None, None, INIT)
    assert read_event(*raws[1]) == Links(None, None, UNSIGNED_INIT)
    assert read_event(*raws[3]) == Links(JOSE_CID, JOSE_CID, DATA)
    assert read_event(*raws[7]) == Links(JOSE_CID, JOSE_CID, TIME)


def rows_read(blocks: pa.Array, count: int, layout: Layout) -> list[int]:
    return sorted(
        row
        for places in read_alike(blocks, np.ones(count, dtype=np.bool_), layout)
        for row in places.rows.tolist()
    )


def test_most_events_as_nodes_write_them_take_the_fast_way() -> None:
    events = [
        data_event(SIGNED.stream, prev, [{"value": n}])
        for n, prev in enumerate((JOSE_CID, CBOR_CID, KECCAK_CID))
    ]
    payloads, roots = (
        pa.array([one.blocks[at].content for one in events], pa.binary()) for at in (0, 1)
    )
    assert plain_envelopes(roots).all()
    assert rows_read(payloads, 3, DATA_LAYOUT) == [
        0,
        1,
    ]  # the parent by keccak-256 is left to the decoder
    times = pa.array(
        [time_event(UNSIGNED.stream, prev).blocks[0].content for prev in (JOSE_CID, CBOR_CID)],
        pa.binary(),
    )
    assert rows_read(times, 2, TIME_LAYOUT) == [0, 1]
    with_header = [
        data_event(SIGNED.stream, prev, [], header={"shouldIndex": bool(n % 2)})
        for n, prev in enumerate((JOSE_CID, CBOR_CID))
    ]
    payloads = pa.array([one.blocks[0].content for one in with_header], pa.binary())
    assert rows_read(payloads, 2, DATA_WITH_HEADER) == [0, 1]


def test_an_empty_batch_decodes_to_nothing() -> None:
    decoded = decode_events(batch_of([]))
    assert (decoded.links.num_rows, decoded.rejected.num_rows) == (0, 0)


INIT_PAYLOAD = encode_dag_cbor({"header": {"model": b"m"}})
DATA_FIELDS: dict[str, DagCborTypes] = {"id": CID(JOSE_CID), "prev": CID(CBOR_CID), "data": {}}
TIME_FIELDS: dict[str, DagCborTypes] = {
    "id": CID(JOSE_CID),
    "prev": CID(CBOR_CID),
    "proof": CID(CBOR_CID),
    "path": "",
}


def without(
    fields: dict[str, DagCborTypes], key: str, **put: DagCborTypes
) -> dict[str, DagCborTypes]:
    return {**{name: value for name, value in fields.items() if name != key}, **put}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (Raw(b""), Reason.ROOT_MISSING),
        (Raw(envelope(INIT_PAYLOAD)), Reason.PAYLOAD_MISSING),
        (Raw(b"\xff"), Reason.NOT_DAG_CBOR),
        (Raw(b"\x81" * 100_000), Reason.NOT_DAG_CBOR),
        (Raw(b"\x81" * 127 + b"\x01"), Reason.NOT_AN_EVENT),
        (Raw(b"\x81" * 128 + b"\x01"), Reason.NOT_DAG_CBOR),
        (Raw(encode_dag_cbor({}) * 2), Reason.NOT_DAG_CBOR),
        (Raw(envelope(b"\xff"), b"\xff"), Reason.NOT_DAG_CBOR),
        (Raw(encode_dag_cbor([])), Reason.NOT_AN_EVENT),
        (Raw(encode_dag_cbor({"header": {}})), Reason.NOT_AN_EVENT),
        (Raw(encode_dag_cbor({"header": {"model": "text"}})), Reason.NOT_AN_EVENT),
        (Raw(envelope(b"\x80"), b"\x80"), Reason.NOT_AN_EVENT),
        (
            Raw(
                encode_dag_cbor({"payload": block(INIT_PAYLOAD).cid, "signatures": 1}), INIT_PAYLOAD
            ),
            Reason.NOT_AN_EVENT,
        ),
        (
            Raw(encode_dag_cbor({"payload": "text", "signatures": []}), INIT_PAYLOAD),
            Reason.PAYLOAD_NO_CID,
        ),
        (
            Raw(encode_dag_cbor({"payload": JOSE_CID[:-1], "signatures": []}), INIT_PAYLOAD),
            Reason.PAYLOAD_NO_CID,
        ),
        (
            Raw(encode_dag_cbor({"payload": b"\0" + JOSE_CID, "signatures": []}), INIT_PAYLOAD),
            Reason.PAYLOAD_NO_CID,
        ),
        (signed(without(DATA_FIELDS, "prev", prev=CBOR_CID[:-1])), Reason.NO_LINK),
        (signed(without(DATA_FIELDS, "id", id="text")), Reason.NO_LINK),
        (signed(without(DATA_FIELDS, "prev", prev=None)), Reason.NO_LINK),
        (signed(without(DATA_FIELDS, "data")), Reason.NOT_AN_EVENT),
        (Raw(encode_dag_cbor(without(TIME_FIELDS, "prev", prev=1))), Reason.NO_LINK),
        (Raw(encode_dag_cbor(without(TIME_FIELDS, "proof", proof=b"\0"))), Reason.NO_LINK),
        (Raw(encode_dag_cbor(without(TIME_FIELDS, "path", path=b"\xff"))), Reason.NO_LINK),
        (Raw(encode_dag_cbor(without(TIME_FIELDS, "proof"))), Reason.NOT_AN_EVENT),
    ],
)
def test_what_cannot_be_read_has_its_reason(raw: Raw, reason: Reason) -> None:
    assert read_event(*raw) == reason
    assert_read_row_by_row([raw, valid()[3], raw])


_A_DATA_EVENT_INSIDE = b"\xa3" + ID + b"\x64data\xf6" + PREV

INDEXED = b"\x66header\xa1\x6bshouldIndex\xf5"

TRAPS = {
    "prev is a byte string": b"\xa3" + ID + b"\x64data\xf6" + PREV_AS_BYTES,
    "prev is a text of that length": b"\xa3" + ID + b"\x64data\xf6\x64prev\x78\x25" + b"x" * 37,
    "data ends like the layout, prev is a byte string": b"\xa3"
    + ID
    + b"\x64data"
    + bytes_item(PREV)
    + PREV_AS_BYTES,
    "data ends like the layout and prev is no more": b"\xa2" + ID + b"\x64data" + bytes_item(PREV),
    "prev is a long byte string whose tail imitates the layout": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev"
    + bytes_item(b"x" * 60 + PREV),
    "prev is a text whose tail imitates the layout": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev\x78\x7f"
    + b"x" * (127 - len(PREV))
    + PREV,
    "prev is a list that ends like the layout": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev\x83\x01"
    + PREV,
    "prev is a map with a prev": b"\xa3" + ID + b"\x64data\xf6\x64prev\xa1" + PREV,
    "prev is a link of a non-minimal length": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev\xd8\x2a\x59\x00\x26\x00"
    + JOSE_CID,
    "prev is a link to a short CID": b"\xa3" + ID + b"\x64data\xf6\x64prev" + link(IDENTITY_CID),
    "prev is a link to no CID": b"\xa3" + ID + b"\x64data\xf6\x64prev" + link(b"\xff" * 37),
    "prev is a link without the leading zero": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev\xd8\x2a\x58\x25"
    + JOSE_CID,
    "prev is a link under another tag": b"\xa3"
    + ID
    + b"\x64data\xf6\x64prev\xd8\x2b\x58\x26\x00"
    + JOSE_CID,
    "prev comes twice": b"\xa3" + ID + PREV + PREV,
    "prev comes before data": b"\xa3" + ID + PREV + b"\x64data\xf6",
    "id is a byte string": b"\xa3\x62id\x58\x25" + JOSE_CID + b"\x64data\xf6" + PREV,
    "id is not the first key": b"\xa4\x61a\x01" + ID + b"\x64data\xf6" + PREV,
    "another key in the place of data": b"\xa3" + ID + b"\x64dato\xf6" + PREV,
    "the key data has a non-minimal length": b"\xa3" + ID + b"\x78\x04data\xf6" + PREV,
    "the map says fewer entries": b"\xa2" + ID + b"\x64data\xf6" + PREV,
    "the map says more entries": b"\xa4" + ID + b"\x64data\xf6" + PREV,
    "the map has a non-minimal length": b"\xb8\x03" + ID + b"\x64data\xf6" + PREV,
    "data swallows the end and the next block": b"\xa3" + ID + b"\x64data\x59\x01\x00" + PREV,
    "data swallows the fence alone": b"\xa3"
    + ID
    + b"\x64data\x58"
    + bytes([len(PREV) + 17])
    + PREV,
    "data is a list with room for the next blocks": b"\xa3"
    + ID
    + b"\x64data\x9a\x00\x00\x00\x09"
    + PREV,
    "data holds a data event": b"\xa3" + ID + b"\x64data" + _A_DATA_EVENT_INSIDE + PREV,
    "two events in one block": _A_DATA_EVENT_INSIDE * 2,
    "an event with a tail": _A_DATA_EVENT_INSIDE + PREV,
    "data is deep": b"\xa3" + ID + b"\x64data" + b"\x81" * 2000 + b"\x01" + PREV,
    "data is a float of another width": b"\xa3" + ID + b"\x64data\xfa\x00\x00\x00\x00" + PREV,
    "with a header": b"\xa4" + ID + b"\x64data\xf6" + PREV + HEADER,
    "with a header, prev is a byte string": b"\xa4" + ID + b"\x64data\xf6" + PREV_AS_BYTES + HEADER,
    "with a header, the end is imitated in data": b"\xa4"
    + ID
    + b"\x64data"
    + bytes_item(PREV + HEADER)
    + PREV_AS_BYTES
    + HEADER,
    "with a header that imitates the end": b"\xa4"
    + ID
    + b"\x64data\xf6"
    + PREV_AS_BYTES
    + b"\x66header"
    + bytes_item(PREV + HEADER),
    "with a header that holds the like of itself": b"\xa4"
    + ID
    + b"\x64data\xf6"
    + PREV_AS_BYTES
    + b"\x66header\xa2"
    + PREV
    + HEADER,
    "to be indexed": b"\xa4" + ID + b"\x64data\xf6" + PREV + INDEXED,
    "not to be indexed": b"\xa4" + ID + b"\x64data\xf6" + PREV + INDEXED[:-1] + b"\xf4",
    "to be indexed, or not": b"\xa4" + ID + b"\x64data\xf6" + PREV + INDEXED[:-1] + b"\xf6",
    "to be indexed by a number": b"\xa4" + ID + b"\x64data\xf6" + PREV + INDEXED[:-1] + b"\x01",
    "to be indexed, three entries": b"\xa3" + ID + b"\x64data\xf6" + PREV + INDEXED,
    "to be indexed, prev is a byte string": b"\xa4"
    + ID
    + b"\x64data\xf6"
    + PREV_AS_BYTES
    + INDEXED,
    "to be indexed, the end is imitated in data": b"\xa4"
    + ID
    + b"\x64data"
    + bytes_item(PREV + INDEXED),
    "to be indexed, data is no value": b"\xa4" + ID + b"\x64data\xff" + PREV + INDEXED,
    "to be indexed, an integer that a node can't read": b"\xa4"
    + ID
    + b"\x64data\x3b"
    + b"\xff" * 8
    + PREV
    + INDEXED,
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_block_that_imitates_the_layout_is_read_as_what_it_is(trap: str) -> None:
    payload = TRAPS[trap]
    raw = Raw(envelope(payload), payload)
    plain = signed(DATA_FIELDS)
    for raws in ([raw], [raw, plain], [plain, raw], [plain, raw, plain, raw, raw]):
        assert_read_row_by_row(raws)


@pytest.mark.parametrize("depth", [*range(120, 137), *range(997, 1005)])
def test_data_as_deep_as_a_decoder_can_go_is_read_alike_on_both_ways(depth: int) -> None:
    deep = b"\xa3" + ID + b"\x64data" + b"\x81" * depth + b"\x01" + PREV
    assert_read_row_by_row([Raw(envelope(deep), deep)])


_PATH, _PROOF = b"\x64path\x60", b"\x65proof" + link(CBOR_CID)


@pytest.mark.parametrize(
    "root",
    [
        b"\xa4" + ID + _PATH + PREV + _PROOF,
        b"\xa4" + ID + _PATH + PREV_AS_BYTES + _PROOF,
        b"\xa4" + ID + _PATH + PREV + b"\x65proof\x58\x24" + CBOR_CID,
        b"\xa4" + ID + _PATH + PREV_AS_BYTES + b"\x65proof" + bytes_item(PREV + _PROOF),
        b"\xa4" + ID + b"\x64path" + bytes_item(PREV) + PREV_AS_BYTES + _PROOF,
        b"\xa4" + ID + b"\x64path\x40" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x63" + "é1".encode() + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x62\xc3(" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x610/1" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x630" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x78" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x78\x010/1" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x78\x010" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x78\x7f" + b"0" * 127 + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x78\x80" + b"0" * 128 + PREV + _PROOF,
        b"\xa4" + ID + b"\x64path\x79\x00\x010" + PREV + _PROOF,
        b"\xa4" + ID + b"\x64pith\x60" + PREV + _PROOF,
        b"\xa4" + ID + _PATH + PREV + b"\x65proof" + link(JOSE_CID),
        b"\xa3" + ID + _PATH + PREV + _PROOF,
    ],
)
def test_a_root_that_imitates_a_time_event_is_read_as_what_it_is(root: bytes) -> None:
    plain = Raw(encode_dag_cbor(TIME_FIELDS))
    for raws in ([Raw(root)], [Raw(root), plain], [plain, Raw(root), plain]):
        assert_read_row_by_row(raws)


some_bytes = st.one_of(st.binary(max_size=30), st.text("0/", max_size=30).map(str.encode))
encoded_paths = st.one_of(
    st.text(max_size=140).map(encode_dag_cbor),
    st.builds(
        lambda head, text: head + text,
        st.sampled_from([b"\x61", b"\x63", b"\x77", b"\x78\x18", b"\x78\x03"]),
        st.binary(max_size=30),
    ),
    st.binary(max_size=4),
)


@given(paths=st.lists(encoded_paths, min_size=1, max_size=6))
def test_a_path_is_a_text_for_a_batch_if_it_is_one_alone(paths: list[bytes]) -> None:
    assert_read_row_by_row(
        [Raw(b"\xa4" + ID + b"\x64path" + path + PREV + _PROOF) for path in paths]
    )


def _envelope_bytes(protected_head: bytes, protected: bytes, tail: bytes = b"") -> bytes:
    start = (
        b"\xa2\x67payload\x58\x24"
        + block(INIT_PAYLOAD).cid
        + b"\x6asignatures\x81\xa2\x69protected"
    )
    return start + protected_head + protected + b"\x69signature\x58\x40" + bytes(64) + tail


@pytest.mark.parametrize(
    "root",
    [
        _envelope_bytes(b"\x58\x30", bytes(48)),
        _envelope_bytes(b"\x58\x04", bytes(4)),
        _envelope_bytes(b"\x44", bytes(4)),
        _envelope_bytes(b"\x59\x00\x30", bytes(48)),
        _envelope_bytes(b"\x59\x01\x30", bytes(304)),
        _envelope_bytes(b"\x5a\x00\x00\x00\x30", bytes(48)),
        _envelope_bytes(b"\x78\x30", bytes(48)),
        _envelope_bytes(b"\x58\x30", bytes(47)),
        _envelope_bytes(b"\x58\x30", bytes(49)),
        _envelope_bytes(b"\x58\x30", bytes(48), b"\x00"),
        _envelope_bytes(b"\x58\x30", bytes(48)).replace(b"\x81\xa2", b"\x82\xa2"),
    ],
)
def test_an_envelope_is_plain_only_if_it_is_one(root: bytes) -> None:
    if plain_envelopes(pa.array([root], pa.binary()))[0]:
        assert payload_multihash(root) == block(INIT_PAYLOAD).multihash
    for payload in (INIT_PAYLOAD, TRAPS["with a header"], _A_DATA_EVENT_INSIDE):
        assert_read_row_by_row([Raw(root, payload), signed(DATA_FIELDS)])


def test_the_flow_step_sends_what_it_cannot_read_another_way() -> None:
    links: list[pa.RecordBatch] = []
    rejected: list[pa.RecordBatch] = []
    flow = Dataflow("decode")
    batches = [batch_of([valid()[0], Raw(b"")]), batch_of([valid()[1]]), batch_of([Raw(b"\xff")])]
    pages = [Page(batch) for batch in batches]
    out = decode("decode", op.input("in", flow, TestingSource(pages)))
    op.output("links", out.links, TestingSink(links))
    op.output("rejected", out.rejected, TestingSink(rejected))
    run_flow(flow, 1)
    assert [batch["kind"].to_pylist() for batch in links] == [[INIT], [UNSIGNED_INIT]]
    assert [batch["reason"].to_pylist() for batch in rejected] == [
        [str(Reason.ROOT_MISSING)],
        [str(Reason.NOT_DAG_CBOR)],
    ]


def test_a_payload_is_named_by_envelopes_alone() -> None:
    assert (
        payload_multihash(sign(INIT_PAYLOAD, "did:key:a")[-1].content)
        == block(INIT_PAYLOAD).multihash
    )
    assert (
        payload_multihash(encode_dag_cbor({"payload": KECCAK_CID, "signatures": []}))
        == KECCAK_CID[2:]
    )
    for root in (
        INIT_PAYLOAD,
        b"",
        b"\xff",
        encode_dag_cbor([1]),
        encode_dag_cbor({"payload": 1}),
        encode_dag_cbor({"payload": b"\x01\x71"}),
    ):
        assert payload_multihash(root) is None
