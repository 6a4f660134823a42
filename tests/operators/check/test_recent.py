"""Blocks in other forms that were read lately."""

import timeit
from functools import partial

import pyarrow as pa

from operators.check.recent import RecentBlocks


def recent(count: int) -> RecentBlocks:
    """So many blocks, kept in one generation."""
    kept = RecentBlocks(lambda _: iter(()), budget_bytes=2**30)
    keys = pa.array([number.to_bytes(34) for number in range(count)], pa.binary())
    kept.add(keys, pa.array([b"block"] * count, pa.binary()))
    return kept


def test_finding_some_takes_no_longer_where_many_are_kept() -> None:
    wanted = {number.to_bytes(34) for number in range(90, 110)}
    few, many = recent(100), recent(200_000)
    assert few.among(wanted) == {number.to_bytes(34) for number in range(90, 100)}
    assert many.among(wanted) == wanted
    of_few, of_many = (
        min(timeit.repeat(partial(kept.among, wanted), number=3, repeat=7)) for kept in (few, many)
    )
    # all that are kept were gone through for each page: 2,000 times as long
    assert of_many < 50 * of_few
