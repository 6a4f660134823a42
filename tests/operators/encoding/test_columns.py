"""Bytes at computed places, against slices of Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.columns import cut, hashes, holds, occurrences, pieces, spans

columns = st.lists(st.binary(max_size=40), max_size=30)


@given(column=columns, width=st.integers(1, 40), offset=st.integers(0, 3), data=st.data())
def test_windows_are_slices(
    column: list[bytes], width: int, offset: int, data: st.DataObject
) -> None:
    whole, start, end = spans(pa.array(column, pa.binary())[offset:])
    assert [whole[one:other].tobytes() for one, other in zip(start, end, strict=True)] == column[
        offset:
    ]
    places = data.draw(
        st.lists(st.integers(0, len(whole) - width), max_size=20)
        if len(whole) >= width
        else st.just([])
    )
    starts = np.array(places, dtype=np.int64)
    expected = [whole[at : at + width].tobytes() for at in places]
    assert [item.tobytes() for item in pieces(whole, starts, width)] == expected
    assert cut(whole, starts, width).to_pylist() == expected
    wanted = data.draw(
        st.sampled_from(expected) if expected else st.binary(min_size=width, max_size=width)
    )
    assert holds(whole, starts, wanted).tolist() == [one == wanted for one in expected]


@pytest.mark.parametrize("wanted", [b"a", b"ab", b"ab\0b", b'"cap', b"\0" * 8])
@given(text=st.lists(st.sampled_from([b"a", b"b", b"\0", b"\\", b'"cap'])).map(b"".join))
def test_occurrences_are_all_there_are(wanted: bytes, text: bytes) -> None:
    found = occurrences(np.frombuffer(text, dtype=np.uint8), wanted).tolist()
    assert found == [at for at in range(len(text)) if text.startswith(wanted, at)]


def test_a_place_outside_is_an_error() -> None:
    with pytest.raises(IndexError):
        pieces(np.zeros(8, dtype=np.uint8), np.array([4]), 5)


@given(column=columns | st.lists(st.binary(max_size=400), max_size=6), offset=st.integers(0, 3))
def test_a_value_has_one_hash_in_any_company(column: list[bytes], offset: int) -> None:
    together = hashes(pa.array([b"?" * offset, *column], pa.binary())[1:])
    alone = [hashes(pa.array([value], pa.binary()))[0] for value in column]
    assert together.tolist() == alone


def test_short_and_long_values_that_differ_have_different_hashes() -> None:
    values = {bytes(n) for n in range(300)} | {bytes([n]) * 9 for n in range(256)}
    values |= {n.to_bytes(size, "big") for n in range(256) for size in (1, 7, 8, 9, 36)}
    column = pa.array(sorted(values), pa.binary())
    assert len(set(hashes(column).tolist())) == len(values)
