"""Values in the bytes of a block: what a decoder finds, and taken as a node takes them."""

import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.encoding.dagcbor import TAG, encode_head, item_offsets, link_at
from operators.encoding.readable import LARGEST_DECODED, Reading, read, value_end
from operators.encoding.typed import Value
from tests.hostile.form_values import VALUES
from tests.support.blocks import link
from tests.support.program import python, run

CIDS = st.sampled_from(
    [b"\x01\x71\x12\x20" + b"c" * 32, b"\x01\x85\x01\x12\x20" + b"j" * 32, b"\x01\x55\x00\x03abc"]
)

CBOR_LINK = link(b"\x01\x71\x12\x20" + bytes(32))
many = settings(max_examples=100, deadline=None, print_blob=True)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).map(
        lambda number: number + 0.0
    )  # libipld refuses the negative zero
    | st.sampled_from(["", "text", "t" * 30, "t" * 300])
    | st.sampled_from([b"", b"bytes", b"b" * 30, b"b" * 300])
    | CIDS
    | CIDS.map(CID),
    lambda inner: (
        st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)
keys = st.sampled_from(["id", "prev", "proof", "data", "", "k" * 30, "k" * 300])


@many
@given(st.dictionaries(keys, values, max_size=7))
def test_the_fields_of_a_map_are_what_a_decoder_finds(fields: dict[str, DagCborTypes]) -> None:
    names = tuple(name for name in ("id", "prev", "proof", "data") if name in fields)
    found = Value(encode_dag_cbor(fields)).fields(names, 0) or {}
    assert [found[name].kind == TAG for name in names] == [
        isinstance(fields[name], CID) for name in names
    ]
    assert [found[name].byte_string() for name in names] == [
        fields[name] if type(fields[name]) is bytes else None for name in names
    ]
    assert [found[name].is_null() for name in names] == [fields[name] is None for name in names]


def test_longer_heads_than_necessary_are_walked_over() -> None:
    link = b"\xd8\x2a\x59\x00\x25\x00\x01\x71\x12\x20" + bytes(32)
    block = (
        b"\xb9\x00\x03\x78\x02id\x1b"
        + bytes(8)
        + b"\x64path\x9a\x00\x00\x00\x01\xfa\x00\x00\x00\x00\x64prev"
        + link
    )
    found = Value(block).fields(("id", "path", "prev"), 0) or {}
    assert [value.kind == TAG for value in found.values()] == [False, False, True]


@many
@given(values)
def test_every_value_of_the_decoder_can_be_walked_over(value: DagCborTypes) -> None:
    block = encode_dag_cbor(value)
    for strict in (True, False):
        assert value_end(block, 0, strict=strict) == len(block)
        assert value_end(block + b"more", 0, strict=strict) == len(block)
        assert value_end(block[:-1], 0, strict=strict) is None


def can_read(block: bytes) -> bool:
    """Whether a node can read a block untagged."""
    return read(block) is not Reading.NOTHING


@pytest.mark.parametrize(("name", "taken"), [(name, taken) for name, (taken, _) in VALUES.items()])
def test_values_are_taken_as_a_node_takes_them(name: str, *, taken: bool) -> None:
    _, value = VALUES[name]
    # in a map, as in a payload
    block = b"\xa1\x64data" + value
    fields = (can_read(block) and Value(block).fields(("data",), 0)) or {}
    assert ("data" in fields and fields["data"].is_any()) == taken


@pytest.mark.parametrize("large", [False, True])
def test_large_blocks_are_taken_as_small_ones_are(*, large: bool) -> None:
    more = LARGEST_DECODED if large else 10
    zeros = b"\x9a" + more.to_bytes(4, "big") + b"\x00" * more
    assert can_read(zeros)
    assert not can_read(zeros + b"\x00")
    assert not can_read(zeros[:-1])
    assert can_read(b"\x81" * 126 + zeros)
    assert not can_read(b"\x81" * 127 + zeros)
    texts = b"".join(b"\x64%04x\x00" % at for at in range(more // 4, 0, -1))
    backwards = b"\xb9" + (more // 4).to_bytes(2, "big") + texts
    assert can_read(backwards)
    assert Value(backwards).is_any()
    twice = b"\xb9" + (more // 4 + 1).to_bytes(2, "big") + texts + b"\x640001\x00"
    assert can_read(twice)
    assert not Value(twice).is_any()


KEYS = ("GFLKIFEEHKGEKFGD", "FG@DBAOIHFFNDLME")
"""Texts that have the same hash in a Python whose hashes have no secret; found in a minute."""

ONE_MAP = """
import sys
from operators.encoding.readable import value_end
from flows.verify.walk import ReadAs, value_end as verified_end

first, second = (text.encode() for text in sys.argv[1:])
block = b"\\xa2\\x70%b\\x00\\x70%b\\x00" % (first, second)
print(hash(first) == hash(second), value_end(block, 0), verified_end(block, 0, ReadAs.VALUE))
"""


def test_no_two_keys_can_be_chosen_that_are_taken_for_one() -> None:
    said = run(python("-c", ONE_MAP, *KEYS), environment={"PYTHONHASHSEED": "0"}).out
    assert said == "True 37 37\n"


def test_depth_is_no_obstacle() -> None:
    block = b"\xa2\x62id" + b"\x81" * 200_000 + b"\x01\x64prev" + CBOR_LINK
    found = Value(block).fields(("id", "prev"), 0) or {}
    assert [value.kind == TAG for value in found.values()] == [False, True]
    assert value_end(block, 0) is None
    assert value_end(block, 0, steps=500_000) == len(block)


@many
@given(st.lists(values, max_size=30))
def test_the_items_of_a_list_are_found(items: list[DagCborTypes]) -> None:
    block = encode_dag_cbor(items)
    offsets = item_offsets(block)
    assert [link_at(block, at) for at in offsets] == [
        bytes(item) if isinstance(item, CID) else None for item in items
    ]


@given(st.integers(0, 7), st.integers(0, 2**64 - 1))
def test_a_head_is_as_short_as_it_can_be(major: int, argument: int) -> None:
    head = encode_head(major, argument)
    assert head[0] >> 5 == major
    if major == 0:
        assert head == encode_dag_cbor(argument)
