"""Where the links are in a block: the same as a decoder that keeps links apart finds."""

from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.encoding.dagcbor import encode_head, is_link, item_offsets, link_at

CIDS = st.sampled_from(
    [b"\x01\x71\x12\x20" + b"c" * 32, b"\x01\x85\x01\x12\x20" + b"j" * 32, b"\x01\x55\x00\x03abc"]
)

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
def test_a_key_is_linked_if_its_value_is_a_link(fields: dict[str, DagCborTypes]) -> None:
    block = encode_dag_cbor(fields)
    assert [is_link(block, key) for key in fields] == [
        isinstance(value, CID) for value in fields.values()
    ]


def test_longer_heads_than_necessary_are_walked_over() -> None:
    link = b"\xd8\x2a\x59\x00\x25\x00\x01\x71\x12\x20" + bytes(32)
    block = (
        b"\xb9\x00\x03\x78\x01a\x1b"
        + bytes(8)
        + b"\x61b\x9a\x00\x00\x00\x01\xfa\x00\x00\x00\x00\x61c"
        + link
    )
    assert [is_link(block, key) for key in "abc"] == [False, False, True]


def test_depth_is_no_obstacle() -> None:
    block = (
        b"\xa2\x61a"
        + b"\x81" * 200_000
        + b"\x01\x61b\xd8\x2a\x58\x25\x00\x01\x71\x12\x20"
        + bytes(32)
    )
    assert [is_link(block, key) for key in "ab"] == [False, True]


@many
@given(st.lists(values, max_size=30))
def test_the_items_of_a_list_are_found(items: list[DagCborTypes]) -> None:
    block = encode_dag_cbor(items)
    offsets = item_offsets(block)
    assert [link_at(block, at) for at in offsets] == [
        bytes(item) if isinstance(item, CID) else None for item in items
    ]
    assert [is_link(block, index) for index in range(len(items))] == [
        isinstance(item, CID) for item in items
    ]


@given(st.integers(0, 7), st.integers(0, 2**64 - 1))
def test_a_head_is_as_short_as_it_can_be(major: int, argument: int) -> None:
    head = encode_head(major, argument)
    assert head[0] >> 5 == major
    if major == 0:
        assert head == encode_dag_cbor(argument)
