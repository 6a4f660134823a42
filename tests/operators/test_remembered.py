"""What is remembered of delivered events, against a set of Python."""

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.encoding.columns import hashes
from operators.remembered import Remembered

ENDINGS = [bytes(8), b"ends alike", b"a short one's end"]

cids = st.one_of(
    st.binary(max_size=9),  # shorter than a word, or just as long
    st.builds(
        lambda begin, end: begin + end, st.binary(min_size=1, max_size=2), st.sampled_from(ENDINGS)
    ),
)
events = st.tuples(cids, st.sampled_from([b"one", b"two", b"three"]))


def _columns(some: list[tuple[bytes, bytes]]) -> tuple[pa.Array, pa.Array]:
    cid, stream = zip(*some, strict=True) if some else ((), ())
    return pa.array(cid, pa.binary()), pa.array(stream, pa.binary())


@given(
    batches=st.lists(st.lists(events, max_size=20), max_size=12),
    asked=st.lists(events, max_size=20),
)
def test_it_holds_what_was_added_and_nothing_else(
    batches: list[list[tuple[bytes, bytes]]], asked: list[tuple[bytes, bytes]]
) -> None:
    remembered = Remembered()
    for batch in batches:
        cid, stream = _columns(batch)
        remembered.add(cid, stream.dictionary_encode())
    added = {event for batch in batches for event in batch}
    wanted = [*asked, *added]
    cid, stream = _columns(wanted)
    held = remembered.holds(cid, stream, hashes(cid))
    assert held.tolist() == [event in added for event in wanted]
    assert len(remembered) == sum(map(len, batches))


def test_events_are_moved_seldom() -> None:
    """Runs grow by doubling: a thousand batches make ten runs, and an event moves ten times."""
    remembered = Remembered()
    for number in range(1_000):
        remembered.add(
            pa.array([number.to_bytes(36)], pa.binary()),
            pa.array([b"stream"], pa.binary()).dictionary_encode(),
        )
    sizes = [len(run.word) for run in remembered.runs]
    assert sum(sizes) == 1_000
    assert all(one >= 2 * other for one, other in pairwise(sizes))


def test_an_offset_into_a_column_does_not_matter() -> None:
    remembered = Remembered()
    cid = pa.array([bytes([number]) * 36 for number in range(9)], pa.binary())
    stream = pa.array([b"stream"] * 9, pa.binary())
    remembered.add(cid[3:5], stream[3:5].dictionary_encode())
    some = slice(2, 6)
    held = remembered.holds(cid[some], stream[some], hashes(cid[some]))
    assert held.tolist() == [False, True, True, False]
