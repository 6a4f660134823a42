"""CIDs, from their text and their bytes."""

import pyarrow as pa
import pytest
from cbrrr import CID
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.encoding.cid import cid_text, multihash, parse_cid, root_multihashes

SHA, JOSE = b"\x01\x71\x12\x20" + bytes(range(32)), b"\x01\x85\x01\x12\x20" + bytes(range(32))
KECCAK = b"\x01\x71\x1b\x20" + bytes(range(32))


@pytest.mark.parametrize(
    "cid", [SHA, JOSE, KECCAK, b"\x01\x93\x01\x1b\x20" + bytes(32), b"\x01\x55\x00\x03abc"]
)
def test_a_cid_is_read_back_from_its_text_and_from_hex(cid: bytes) -> None:
    assert cid_text(cid) == CID(cid).encode()
    assert parse_cid(cid_text(cid)) == cid
    assert parse_cid(f"  {cid_text(cid)}\n") == cid
    assert parse_cid(cid.hex()) == cid
    assert parse_cid(f"0x{cid.hex().upper()}") == cid


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0x",
        "bafy",
        "not a CID",
        "01",
        "zz",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "é",
        "b",
    ],
)
def test_what_is_no_cid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_cid(text)


def test_bytes_that_are_no_cid_are_shown_as_hex() -> None:
    assert cid_text(b"\xff\x00") == "0xff00"
    assert cid_text(b"") == "0x"


@pytest.mark.parametrize("cid", [SHA, JOSE, KECCAK])
def test_the_multihash_is_behind_version_and_codec(cid: bytes) -> None:
    assert multihash(cid) == cid[-34:]
    assert root_multihashes(pa.array([cid], pa.binary())).to_pylist() == [cid[-34:]]


@pytest.mark.parametrize(
    "cid",
    [
        b"",
        b"\x01",
        SHA[:-1],
        SHA + b"\0",
        b"\0" + SHA,
        b"\x02" + SHA[1:],
        SHA[2:],
        b"\x01" + b"\x80" * 20 + SHA,
    ],
)
def test_what_is_no_cid_has_no_multihash(cid: bytes) -> None:
    assert multihash(cid) is None


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=50)
    | st.builds(
        lambda *parts: b"".join(parts), st.just(b"\x01"), st.binary(max_size=12), st.just(SHA[2:])
    )
)
def test_a_multihash_is_always_the_tail(cid: bytes) -> None:
    found = multihash(cid)
    assert found is None or (cid.endswith(found) and cid[0] == 1)
