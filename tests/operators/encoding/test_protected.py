"""Protected headers: read as strictly and as laxly as a node reads them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.protected import read_cap
from tests.hostile.form_shared import NAMED

values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), values, max_size=4), st.none() | st.text())
def test_of_any_object_the_text_cap_is_read(header: dict[str, object], cap: str | None) -> None:
    text = json.dumps(header | {"cap": cap})
    assert read_cap(text.encode()) == cap
    assert read_cap(json.dumps(header | {"cap": 1}).encode()) is None


@given(st.sampled_from(sorted(NAMED.values())), st.integers(0), st.integers(0, 255))
def test_a_header_with_one_byte_changed_is_read_without_an_error(
    header: bytes, at: int, byte: int
) -> None:
    at %= len(header)
    found = read_cap(header[:at] + bytes([byte]) + header[at + 1 :])
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_depth_is_no_obstacle(depth: int) -> None:
    assert read_cap(b'{"a":%b%b,"cap":"c"}' % (b"[" * depth, b"]" * depth)) == "c"
    assert read_cap(b'{"a":%b' % (b'{"b":' * depth)) is None
