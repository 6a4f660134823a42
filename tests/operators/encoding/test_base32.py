"""CIDs as text and base32 as bytes, a column at once."""

import base64
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.base32 import cid_texts, decoded
from operators.encoding.cid import cid_text
from operators.encoding.layouts import CBOR_CID, JOSE_CID

DIGESTS = st.binary(min_size=32, max_size=32)
CIDS = st.sampled_from([CBOR_CID, JOSE_CID]).flatmap(
    lambda start: DIGESTS.map(lambda digest: start + digest)
)


@given(st.lists(st.none() | CIDS | st.binary(min_size=1, max_size=40)))
def test_a_column_gives_the_same_text_as_one_by_one(values: list[bytes | None]) -> None:
    expected = [None if value is None else cid_text(value) for value in values]
    assert cid_texts(pa.array(values, pa.binary())).to_pylist() == expected


DIGITS = st.sampled_from(b"abcdefghijklmnopqrstuvwxyz234567") | st.integers(0, 255)


def texts(digits: int) -> st.SearchStrategy[list[bytes]]:
    """Some texts of so many bytes each."""
    return st.lists(st.lists(DIGITS, min_size=digits, max_size=digits).map(bytes), min_size=1)


def one_by_one(text: bytes) -> bytes | None:
    """What a text stands for by Python's decoder, which takes whole groups; None if it is none."""
    if not text.isascii() or text != text.lower():
        return None
    try:
        return base64.b32decode(text.upper() + b"A" * (-len(text) % 8))
    except ValueError:
        return None


@given(st.integers(1, 20).flatmap(texts))
def test_texts_of_base32_give_the_same_bytes_as_one_by_one(alike: Sequence[bytes]) -> None:
    binary, is_base32 = decoded(np.frombuffer(b"".join(alike), np.uint8).reshape(len(alike), -1))
    for text, found, is_right in zip(alike, binary, is_base32.tolist(), strict=True):
        expected = one_by_one(text)
        assert is_right == (expected is not None)
        assert expected is None or found.tobytes() == expected
