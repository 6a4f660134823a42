"""Where values stand in a column."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from connectors.positions import NOWHERE, Index

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


@given(st.lists(values, max_size=30), st.lists(st.lists(values, max_size=30), max_size=3))
def test_a_value_is_found_wherever_it_stands(
    wanted: list[bytes], columns: list[list[bytes]]
) -> None:
    index = Index()
    for held in columns:
        index.hold(pa.array([b"before", *held], pa.binary()).slice(1))
        places = index.find(pa.array([b"before", *wanted], pa.binary()).slice(1))
        for value, at in zip(wanted, places.tolist(), strict=True):
            if at == NOWHERE:
                assert not value or value not in held
            else:
                assert held[at] == value
