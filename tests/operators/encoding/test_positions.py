"""Where values stand in a column."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.positions import FEW, NOWHERE, Index

ALIKE = [
    b"",
    b"a",
    b"b",
    b"same end",
    b"also same end",
    bytes(8),
    bytes(9),
    *(bytes([n]) * 34 for n in range(9)),
]
"""Some of them share the bytes by which they are found, or have too few."""

values = st.sampled_from(ALIKE) | st.binary(max_size=12)


@given(
    st.sampled_from([0, 5, FEW]),
    st.lists(values | st.none(), max_size=30),
    st.lists(st.lists(values, max_size=30), max_size=3),
)
def test_a_value_is_found_where_it_first_stands(
    few: int, wanted: list[bytes | None], columns: list[list[bytes]]
) -> None:
    index = Index(few)
    for held in columns:
        index.hold(pa.array([b"before", *held], pa.binary()).slice(1))
        places = index.find(pa.array([b"before", *wanted], pa.binary()).slice(1))
        for value, at in zip(wanted, places.tolist(), strict=True):
            assert at == (held.index(value) if value in held else NOWHERE)


@pytest.mark.parametrize("few", [0, FEW])
def test_all_of_many_values_are_found_whose_last_bytes_are_the_same(few: int) -> None:
    held = [b"%d@host.example" % number for number in range(3000)]
    index = Index(few)
    index.hold(pa.array(held, pa.binary()))
    assert index.find(pa.array([*reversed(held), b"x@host.example"])).tolist() == [
        *range(2999, -1, -1),
        NOWHERE,
    ]
