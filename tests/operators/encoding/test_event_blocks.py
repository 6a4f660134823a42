"""Event blocks in one value: whatever the multihashes are, each entry comes back whole."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.event_blocks import NO_CODEC, EventBlock, pack, pack_rows, unpack

multihashes = st.sampled_from([b"\x12\x20", b"\x1b\x20"]).flatmap(
    lambda begin: st.binary(min_size=32, max_size=32).map(lambda digest: begin + digest)
) | st.binary(max_size=70)
entries = st.builds(
    EventBlock, multihashes, st.integers(0, 2**63 - 1) | st.just(NO_CODEC), st.booleans()
)


@given(st.lists(entries, max_size=5))
def test_what_is_packed_is_unpacked(some: list[EventBlock]) -> None:
    assert list(unpack(pack(some))) == some


@given(st.lists(st.lists(entries, max_size=4), max_size=4))
def test_rows_are_packed_by_event(events: list[list[EventBlock]]) -> None:
    rows = [one for event in events for one in event]
    packed = pack_rows(
        np.array([len(event) for event in events], dtype=np.int64),
        pa.array([one.multihash for one in rows], pa.binary()),
        np.array([one.codec for one in rows], dtype=np.int64),
        np.array([one.is_root for one in rows], dtype=np.int64),
    )
    assert packed.to_pylist() == [pack(event) for event in events]
