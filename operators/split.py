"""Splits batches of events by their streams, so that all events of a stream stay together."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.columns import hashes


def split_by_stream(batch: pa.RecordBatch, shards: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Cut a batch of schema LINKS by shard, a hash of the stream modulo `shards`."""
    of_row = hashes_of_streams(batch["stream"]) % np.uint64(shards)
    for shard, part in split_rows(batch, of_row, shards):
        yield str(shard), part


def hashes_of_streams(stream: pa.Array) -> NDArray[np.uint64]:
    """A hash of each stream; its upper half is as well mixed as its lower one."""
    mixed = hashes(stream)
    return mixed ^ (mixed >> np.uint64(32))


def split_rows(
    batch: pa.RecordBatch, part: NDArray[np.uint64], parts: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each part that has any, in their order."""
    # numbers of one or two bytes are sorted in one pass or two
    part = part.astype(np.min_scalar_type(parts))
    rows = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[rows], np.arange(parts + 1))
    for index in range(parts):
        mine = rows[bounds[index] : bounds[index + 1]]
        if len(mine):
            # a slice would carry its whole parent into another process
            yield index, batch.take(pa.array(mine))
