"""Looks up many blocks, of which nobody knows beforehand how large they are."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from operators.check.shared_blocks import FetchBlocks

FEWEST_FETCHED, MOST_FETCHED = 64, 512
"""Blocks that are fetched in one look-up. Each may have megabytes, so there are few until they turn
out to be small."""

SMALL = 1024
"""The most bytes of a small block: a capability has about 700, a proof less than 200."""


def fetched(fetch: FetchBlocks, multihashes: Sequence[bytes]) -> Iterator[dict[bytes, bytes]]:
    """The blocks of distinct multihashes, some at a time."""
    first, count = 0, FEWEST_FETCHED
    while first < len(multihashes):
        found = fetch(pa.array(multihashes[first : first + count], pa.binary()))
        yield found
        first += count
        size = sum(map(len, found.values()))
        count = MOST_FETCHED if size <= count * SMALL else FEWEST_FETCHED
