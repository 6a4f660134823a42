"""What a block can be, by its content."""

from json import dumps
from typing import Any

import pytest
from cbrrr import CID, encode_dag_cbor
from hypothesis import given
from hypothesis import strategies as st

from flows.synth.events import block, sign
from flows.verify.blocks import DEEP, read_block, read_blocks
from flows.verify.cids import cid_text
from flows.verify.readings import READINGS
from tests.support.world import CAPABILITY, WORLD

A, B, C = (block(name).cid for name in (b"a", b"b", b"c"))
JOSE = WORLD["init"].cid
KECCAK = b"\x01\x93\x01\x1b\x20" + bytes(32)
CID_V0 = b"\x12\x20" + bytes(32)
SIGNATURE = {"protected": b'{"alg":"EdDSA"}', "signature": b"s"}
DATA = {"id": CID(A), "prev": CID(B), "data": 1}
TIME = {"id": CID(A), "prev": CID(B), "proof": CID(C), "path": "0/1"}
PROOF = {"root": CID(A), "txHash": CID(KECCAK), "txType": "f(bytes32)", "chainId": "eip155:1"}
INIT = {"header": {"model": b"m", "controllers": ["did:key:z"]}}


def kinds(content: Any) -> dict[str, tuple[Any, ...]]:
    return dict(read_block(encode_dag_cbor(content)))


@pytest.mark.parametrize(
    ("content", "readings"),
    [
        (TIME, {"block_time": (A, B, C, "0/1", True)}),
        ({**TIME, "more": [1]}, {"block_time": (A, B, C, "0/1", False)}),
        (DATA, {"block_data": (A, B)}),
        ({**DATA, "data": None}, {"block_data": (A, B)}),
        ({**DATA, "id": A, "prev": list(B)}, {"block_data": (A, B)}),
        ({**DATA, "header": {"modelVersion": CID(C)}}, {"block_data": (A, B)}),
        ({**DATA, "header": {"modelVersion": C}}, {"block_data": (A, B)}),
        ({**TIME, "path": b"0/1", "proof": C}, {"block_time": (A, B, C, "0/1", False)}),
        ({**DATA, "header": {"shouldIndex": True}}, {"block_data": (A, B)}),
        ({**DATA, **INIT}, {"block_data": (A, B), "block_init": ()}),
        ({**DATA, **TIME}, {"block_data": (A, B), "block_time": (A, B, C, "0/1", False)}),
        (INIT, {"block_init": ()}),
        (PROOF, {"block_proof": (A,)}),
        ([CID(A), 1, CID(JOSE)], {"block_node": ([0, 2], [A, JOSE])}),
        ([], {"block_node": ([], [])}),
        ({"payload": A, "signatures": [SIGNATURE]}, {"block_envelope": (A, 1, None)}),
        (
            {"payload": A, "signatures": [SIGNATURE, {"signature": b""}]},
            {"block_envelope": (A, 2, None)},
        ),
        (
            {
                "payload": A,
                "signatures": [{"signature": b"", "header": {"a": 1}, "protected": None}],
            },
            {"block_envelope": (A, 1, None)},
        ),
        ({"payload": A, "signatures": []}, {"block_envelope": (A, 0, None)}),
        (
            {"payload": A, "signatures": [SIGNATURE], "link": CID(A)},
            {"block_envelope": (A, 1, None)},
        ),
        ({"payload": KECCAK, "signatures": [SIGNATURE]}, {"block_envelope": (KECCAK, 1, None)}),
        ({"payload": A + b"more", "signatures": [SIGNATURE]}, {"block_envelope": (A, 1, None)}),
        ([A, [[None, b"{}", b"s"]]], {"block_envelope": (A, 1, None), "block_node": ([], [])}),
    ],
)
def test_a_block_is_everything_that_it_could_be(
    content: Any, readings: dict[str, tuple[Any, ...]]
) -> None:
    assert kinds(content) == readings


@pytest.mark.parametrize(
    "content",
    [
        {**TIME, "path": 1},
        {**TIME, "proof": "text"},
        {**DATA, "id": b"no CID"},
        {**DATA, "header": {"modelVersion": b"no CID"}},
        {**DATA, "header": {"modelVersion": "text"}},
        {"id": CID(A), "prev": CID(B)},
        {"header": {"model": "m"}},
        {"header": [b"m"]},
        {**PROOF, "txHash": KECCAK},
        {**PROOF, "chainId": 1},
        {"payload": CID(A), "signatures": [SIGNATURE]},
        {"header": {"model": b"m", "modelVersion": 1}},
        {"header": {"model": CID(A)}},
        {"payload": b"\x00" + A, "signatures": [SIGNATURE]},
        {"payload": A, "signatures": {}},
        {"payload": A, "signatures": [{"protected": b""}]},
        {"payload": A, "signatures": [{"protected": "{}", "signature": b""}]},
        {"payload": A, "signatures": [{"header": 1, "signature": b""}]},
        {"h": {"t": "a"}, "p": {}, "s": {"t": "a", "s": "b"}},
        CID(A),
        b"",
        None,
    ],
)
def test_a_block_with_a_field_of_another_type_is_nothing(content: Any) -> None:
    assert kinds(content) == {"block_other": ("no block of an event has this shape",)}


def test_bytes_behind_the_cid_of_a_link_are_cut_as_the_node_cuts_them() -> None:
    assert kinds({**DATA, "data": CID(A + b"more")}) == {"block_data": (A, B)}
    assert kinds({**DATA, "prev": CID(KECCAK + b"more")}) == {"block_data": (A, KECCAK)}


def test_the_blocks_of_the_world_are_what_they_were_made_for() -> None:
    needed = {
        "init": ["capability", "init", "envelope"],
        "second": ["capability", "data", "envelope"],
        "unsigned": ["init"],
    }
    for name, kinds_of_blocks in {
        **needed,
        "anchor": ["time", "proof", "node", "node", "node"],
    }.items():
        assert [read_block(one.content)[0][0] for one in WORLD[name].blocks] == [
            f"block_{kind}" for kind in kinds_of_blocks
        ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"\x00\x00",
        b"\x18\x01",
        b"\xa2\x61b\x00\x61a\x00",
        b"\xd8\x2a\x43\x00\x01\x71",
        b"\xd8\x2a\x41\x01",
        b"\x61\xff",
        b"\x9f\xff",
    ],
    ids=[
        "empty",
        "break",
        "trailing",
        "long integer",
        "unsorted",
        "no CID",
        "no zero byte",
        "not UTF-8",
        "indefinite",
    ],
)
def test_what_is_no_strict_dag_cbor_can_not_be_read(content: bytes) -> None:
    ((name, (why,)),) = read_block(content)
    assert name == "block_other"
    assert str(why).startswith("not DAG-CBOR: ")


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a"], ids=["lists", "maps"])
def test_a_block_may_be_nested_as_deep_as_the_node_can_read(opening: bytes) -> None:
    def deep(levels: int) -> str:
        return read_block(
            b"\xa3\x62id\xd8\x2a\x58\x25\x00"
            + A
            + b"\x64data"
            + opening * (levels - 1)
            + b"\x00\x64prev\xd8\x2a\x58\x25\x00"
            + B
        )[0][0]

    assert deep(DEEP) == "block_data"
    assert deep(DEEP + 1) == "block_other"
    assert deep(100_000) == "block_other"


def test_many_lists_next_to_each_other_are_not_deep() -> None:
    assert kinds({**DATA, "data": [[[]], [{"a": []}]] * 1000}) == {"block_data": (A, B)}


def test_only_the_first_signature_is_asked_for_a_capability() -> None:
    named = {"protected": dumps({"cap": f"ipfs://{cid_text(B)}"}).encode(), "signature": b""}
    assert kinds({"payload": A, "signatures": [SIGNATURE, named]}) == {
        "block_envelope": (A, 2, None)
    }
    assert kinds({"payload": A, "signatures": [named, SIGNATURE]}) == {"block_envelope": (A, 2, B)}


def test_a_capability_of_a_signed_event_is_found() -> None:
    content, envelope = sign(b"\xa0", "did:key:z", CAPABILITY)[-2:]
    assert read_block(envelope.content) == [
        ("block_envelope", (content.cid, 1, CAPABILITY.block.cid))
    ]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.text(max_size=3)
    | st.sampled_from([A, CID(A), CID(JOSE), CID(CID_V0)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["t", "s", "model", "signature", "protected"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
FIELDS = (
    "id",
    "prev",
    "proof",
    "path",
    "data",
    "payload",
    "signatures",
    "header",
    "root",
    "txHash",
    "txType",
    "chainId",
    "h",
    "p",
    "s",
)


@given(st.one_of(st.dictionaries(st.sampled_from(FIELDS), values, max_size=6), values))
def test_any_content_has_a_reading(content: Any) -> None:
    encoded = encode_dag_cbor(content)
    tables = read_blocks([b"m"], [encoded])
    assert {name: table.num_rows for name, table in tables.items()} == dict.fromkeys(
        kinds(content), 1
    )
    assert all(table.schema == READINGS[name] for name, table in tables.items())


@given(st.binary(max_size=60))
def test_any_bytes_have_a_reading(content: bytes) -> None:
    assert read_block(content)


USUAL = st.fixed_dictionaries(
    {
        "payload": st.sampled_from([A, KECCAK, b"", "a"]),
        "signatures": st.lists(
            st.sampled_from([SIGNATURE, {**SIGNATURE, "signature": 1}, {}]), max_size=2
        ),
    }
)
USUAL |= st.fixed_dictionaries(
    {key: st.sampled_from([CID(A), CID(JOSE), A, "0/1"]) for key in TIME}
)


@given(USUAL)
def test_the_fast_way_reads_what_the_slow_way_reads(content: dict[str, Any]) -> None:
    slow = kinds({**content, "zzzzzzzzzzzz": 1})
    fast = kinds(content)
    # a node would write a time event without its other fields
    assert {name: cells[:4] for name, cells in fast.items()} == {
        name: cells[:4] for name, cells in slow.items()
    }
