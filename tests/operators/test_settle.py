"""Settle, against climbing every chain one by one."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.settle import NONE, parent_rows, settle

few = settings(max_examples=200, deadline=None, print_blob=True)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    """Rowid, parent and readiness of up to 24 rows; a parent may be any row, or the row itself."""
    rowids = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 30), max_size=24, unique=True)
    )
    count = len(rowids)
    parents = draw(st.lists(st.integers(NONE, count - 1), min_size=count, max_size=count))
    return rowids, parents, draw(st.lists(st.booleans(), min_size=count, max_size=count))


def climb(row: int, parents: list[int]) -> list[int]:
    """The rows from `row` to its topmost ancestor; empty if it hangs on a cycle."""
    way = [row]
    while parents[way[-1]] != NONE:
        if parents[way[-1]] in way:
            return []
        way.append(parents[way[-1]])
    return way


@few
@given(tables())
def test_settle_agrees_with_climbing_every_chain(
    table: tuple[list[int], list[int], list[bool]],
) -> None:
    rowids, parents, ready = table
    settled = settle(
        np.array(rowids, np.int64), np.array(parents, np.int64), np.array(ready, np.bool_)
    )
    ways = [climb(row, parents) for row in range(len(rowids))]
    free = [row for row, way in enumerate(ways) if way and ready[way[-1]]]
    turns = {row: (max(rowids[above] for above in ways[row]), len(ways[row])) for row in free}
    assert settled.order.tolist() == sorted(free, key=turns.__getitem__)
    assert settled.stuck.tolist() == [row for row in range(len(rowids)) if row not in turns]
    assert settled.topmost.tolist() == [way[-1] if way else NONE for way in ways]


@few
@given(tables())
def test_every_parent_comes_before_its_children(
    table: tuple[list[int], list[int], list[bool]],
) -> None:
    rowids, parents, ready = table
    order = settle(
        np.array(rowids, np.int64), np.array(parents, np.int64), np.array(ready, np.bool_)
    ).order.tolist()
    assert all(
        parents[row] in order[:turn] for turn, row in enumerate(order) if parents[row] != NONE
    )


@few
@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40).map(
        lambda draws: [draw % (row + 1) - 1 for row, draw in enumerate(draws)]
    )
)
def test_rows_that_lie_parents_first_keep_their_order(parents: list[int]) -> None:
    rows = np.arange(len(parents))
    settled = settle(rows + 1, np.array(parents, np.int64), np.ones(len(parents), np.bool_))
    assert settled.order.tolist() == rows.tolist()


def test_a_chain_of_a_hundred_thousand_is_settled_from_either_end() -> None:
    rows = np.arange(100_000)
    downwards = settle(rows, rows - 1, rows == 0)
    upwards = settle(rows, np.append(rows[1:], NONE), rows == rows[-1])
    assert np.array_equal(downwards.order, rows)
    assert np.array_equal(upwards.order, rows[::-1])


def test_what_hangs_on_a_cycle_is_stuck_and_the_rest_is_not() -> None:
    parents = np.array([1, 2, 0, 0, 4, NONE, 5])
    settled = settle(np.arange(7), parents, np.ones(7, np.bool_))
    assert settled.order.tolist() == [5, 6]
    assert settled.stuck.tolist() == [0, 1, 2, 3, 4]
    assert settled.topmost.tolist() == [NONE, NONE, NONE, NONE, NONE, 5, 5]


@few
@given(st.lists(st.binary(max_size=3), unique=True), st.data())
def test_a_parent_is_the_row_that_has_its_cid(cids: list[bytes], data: st.DataObject) -> None:
    prevs = data.draw(
        st.lists(st.none() | st.binary(max_size=3), min_size=len(cids), max_size=len(cids))
    )
    rows = parent_rows(pa.array(cids, pa.binary()), pa.array(prevs, pa.binary()))
    assert rows.tolist() == [cids.index(prev) if prev in cids else NONE for prev in prevs]
