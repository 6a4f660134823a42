"""What a node's decoder takes beyond strict DAG-CBOR, and where: each answer is the node's own."""

import pytest
from cbrrr import CID, encode_dag_cbor

from flows.synth.events import block
from flows.verify.blocks import read_block
from tests.support.blocks import link

A, B = (block(name).cid for name in (b"a", b"b"))
DIGEST = b"\x12\x20" + bytes(32)

VALUES = {
    "a long head": (b"\x18\x01", "dupn"),
    "a long head of a text": (b"\x78\x01a", "dupn"),
    "a float of 32 bits": (b"\xfa\x3f\x80\x00\x00", "dupn"),
    "a float of 16 bits": (b"\xf9\x3c\x00", "p"),
    "no number": (b"\xfb\x7f\xf8" + bytes(6), "up"),
    "undefined": (b"\xf7", "p"),
    "-2^63 - 1": (b"\x3b\x80" + bytes(7), "pn"),
    "bytes without a length": (b"\x5f\x41a\xff", "p"),
    "a list without a length": (b"\x9f\x01\xff", "p"),
    "keys out of order": (b"\xa2\x61b\x01\x61a\x02", "dupn"),
    "a key twice": (b"\xa2\x61a\x01\x61a\x02", "up"),
    "a key of bytes": (b"\xa1\x41a\x01", "dupn"),
    "a key of bytes that are no text": (b"\xa1\x41\xff\x01", "up"),
    "a key that is a number": (b"\xa1\x01\x01", "up"),
    "tag 43": (b"\xd8\x2b\x01", "p"),
    "a link with a long tag": (b"\xd9\x00\x2a" + link(A)[2:], "dupn"),
    "a link to half a CID": (link(A[:20]), "up"),
    "a link to a CID of version 0": (link(DIGEST), "dupn"),
    "a link to a codec of four bytes": (link(b"\x01\xf1\xd9\xf0\x02" + DIGEST), "dupn"),
    "lists, 126 deep": (b"\x81" * 126 + b"\x01", "dupn"),
    "lists, 127 deep, with nothing": (b"\x81" * 126 + b"\x80", "dupn"),
    "lists, 128 deep": (b"\x81" * 128 + b"\x01", "p"),
    "lists, 254 deep": (b"\x81" * 254 + b"\x01", "p"),
    "lists, 255 deep": (b"\x81" * 255 + b"\x01", ""),
    "lists, 100,000 deep": (b"\x81" * 100_000 + b"\x01", ""),
    "a list as long as the world": (b"\x9b" + b"\xff" * 8, ""),
}
"""Values, and where the node takes them: in the `data` of an event, in an unknown field of one, in
an unknown field of a proof, in a witness node."""


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_taken_where_the_node_takes_it(name: str) -> None:
    value, places = VALUES[name]
    head = b"\x62id" + link(A) + b"\x64data"
    tail = b"\x64prev" + link(B)
    proof = b"\xa5\x61x%b\x64root%b\x66txHash%b\x66txType\x61f\x67chainId\x61c"
    blocks = {
        "d": (b"\xa3" + head + value + tail, "block_data"),
        "u": (b"\xa4" + head + b"\x01\x61x" + value + tail, "block_data"),
        "p": (proof % (value, link(A), link(B)), "block_proof"),
        "n": (b"\x82" + value + link(A), "block_node"),
    }
    found = {place for place, (content, name) in blocks.items() if read(content) == name}
    assert found == {*places}


def read(content: bytes) -> str:
    """The one thing that a block can be."""
    ((name, _),) = read_block(content)
    return name


def capability(**changed: object) -> bytes:
    """The block of a capability with other parts."""
    parts: dict[str, object] = {
        "h": {"t": "eip4361"},
        "p": {"aud": "a", "domain": "d", "iat": "i", "iss": "i", "nonce": "n", "version": "1"},
        "s": {"t": "eip191", "s": "0x"},
    }
    for name, value in changed.items():
        part = parts[name[0]]
        assert isinstance(part, dict)
        part[name[2:]] = value
    return encode_dag_cbor(parts)  # type: ignore[arg-type] # what is encoded is chosen by a test


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"h_t": "caip122"},
        {"s_t": "jws"},
        {"p_exp": "t", "p_nbf": None, "p_requestId": "r", "p_statement": "s"},
        {"p_resources": ["a", "b"]},
        {"p_resources": None},
        {"p_more": [1, CID(A)], "h_more": 1},
        {"s_m": None},
        {"s_s": b"0x"},
        {"s_m": {"alg": "a", "kid": "k", "a": [1.5, None, CID(A)]}},
        {"s_m": 1},
    ],
    ids=str,
)
def test_a_capability_may_have_what_the_node_takes(part: dict[str, object]) -> None:
    assert read(capability(**part)) == "block_capability"


@pytest.mark.parametrize(
    "part",
    [
        {"h_t": "another"},
        {"s_t": "another"},
        *({f"p_{name}": 1} for name in ("aud", "exp", "nbf", "requestId", "statement")),
        {"p_resources": "text"},
        {"p_resources": [1]},
    ],
    ids=str,
)
def test_a_capability_with_a_field_of_another_type_is_none(part: dict[str, object]) -> None:
    assert read(capability(**part)) == "block_other"
