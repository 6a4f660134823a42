"""Where the links are in a block: told from its bytes, held against a decoder that keeps links apart."""

from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st
from libipld import decode_dag_cbor as decode_links_as_bytes

from operators.encoding.dagcbor import ends_linked, linked_keys

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
    assert linked_keys(encode_dag_cbor(fields)) == {
        key for key, value in fields.items() if isinstance(value, CID)
    }


def test_longer_heads_than_necessary_are_walked_over() -> None:
    link = b"\xd8\x2a\x59\x00\x25\x00\x01\x71\x12\x20" + bytes(32)
    block = (
        b"\xb9\x00\x03\x78\x01a\x1b"
        + bytes(8)
        + b"\x61b\x9a\x00\x00\x00\x01\xfa\x00\x00\x00\x00\x61c"
        + link
    )
    assert linked_keys(block) == {"c"}


def test_depth_is_no_obstacle() -> None:
    block = (
        b"\xa2\x61a"
        + b"\x81" * 200_000
        + b"\x01\x61b\xd8\x2a\x58\x25\x00\x01\x71\x12\x20"
        + bytes(32)
    )
    assert linked_keys(block) == {"b"}


@many
@given(prev=values, header=values, imitates=st.booleans(), nested=st.booleans())
def test_what_ends_linked_has_a_link_for_prev(
    prev: DagCborTypes, header: DagCborTypes, *, imitates: bool, nested: bool
) -> None:
    if imitates and isinstance(prev, bytes) and len(prev) < 255:
        # what the end of the block would be if prev were a link
        end = (
            b"\x64prev\xd8\x2a\x58"
            + bytes([len(prev) + 1, 0])
            + prev
            + b"\x66header"
            + encode_dag_cbor(header)
        )
        header = {"prev": prev, "header": header, "imitation": end} if nested else [header, end]
    block = encode_dag_cbor({"prev": prev, "header": header})
    assert ends_linked(block, decode_links_as_bytes(block)) <= ("prev" in linked_keys(block))


def test_a_link_before_a_header_is_seen_at_once() -> None:
    block = encode_dag_cbor(
        {"prev": CID(b"\x01\x71\x12\x20" + bytes(32)), "header": {"shouldIndex": True}}
    )
    assert ends_linked(block, decode_links_as_bytes(block))
