"""CIDs as text, a column at once."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.base32 import USUAL, cid_texts
from operators.encoding.cid import cid_text

DIGESTS = st.binary(min_size=32, max_size=32)
CIDS = st.sampled_from(USUAL).flatmap(lambda start: DIGESTS.map(lambda digest: start + digest))


@given(st.lists(st.none() | CIDS | st.binary(min_size=1, max_size=40)))
def test_a_column_gives_the_same_text_as_one_by_one(values: list[bytes | None]) -> None:
    expected = [None if value is None else cid_text(value) for value in values]
    assert cid_texts(pa.array(values, pa.binary())).to_pylist() == expected
