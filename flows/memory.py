"""How the memory of a run is shared out: `--memory-limit` is for the whole process.

Everything that grows with the number of events has a share here, and goes to files beyond it.
"""

from dataclasses import dataclass

from flows.amounts import MEGABYTE
from flows.machine import memory_there_is
from flows.verify.memory import THREAD_BYTES
from operators.order import SHARDS

OWN_BYTES = 170 * MEGABYTE
"""Bytes for Python and its libraries (60 MB), and for the pages that are being read and decoded."""

LEAST_DEFAULT, MOST_DEFAULT = 512 * MEGABYTE, 4_000 * MEGABYTE
"""The bounds of the default limit, a quarter of what there is."""

SETTLE_FACTOR = 4
"""How many times the memory of its events a settle takes."""

EVENT_BYTES = 130
"""Bytes of a waiting event in memory, and in a file."""

MOST_SHARD_BYTES = 24 * MEGABYTE
"""Bytes of a shard in memory at most, however high the limit: 180,000 waiting events. A million are
settled in half the time out of files, where what a part looks up fits the processor's caches."""

MOST_PARTITIONS = 256
"""The most files of a shard: more would make batches of few events."""


@dataclass(frozen=True)
class Memory:
    """What each part of a run may take, in bytes."""

    limit: int
    check: int
    """Shared blocks and witness nodes that are remembered."""
    sink: int
    """Events that are ordered and not yet written."""
    order: int
    """Waiting events, and what is remembered of those that were let out."""

    @property
    def shard(self) -> int:
        """Bytes of one of the shards, beyond which its events go to a file."""
        return min(self.order // SHARDS, MOST_SHARD_BYTES)

    @property
    def afterwards(self) -> int:
        """Bytes for DuckDB, which counts and verifies a log when the flow has ended."""
        return max(self.limit - OWN_BYTES, THREAD_BYTES)

    def partitions(self, events: int) -> int:
        """Into how many parts a shard is divided in files, so that each can be settled."""
        wanted = -(-events * EVENT_BYTES * SETTLE_FACTOR // max(1, SHARDS * 2 * self.shard))
        return min(max(4, wanted), MOST_PARTITIONS)


def share_out(limit: int) -> Memory:
    """Share out this many bytes."""
    eighth = limit // 8
    order = max(limit - OWN_BYTES - 2 * eighth, eighth) // 2
    return Memory(limit, check=min(eighth, 512 * MEGABYTE), sink=eighth, order=order)


def default_limit() -> int:
    """A quarter of the memory of the machine or of its cgroup, within bounds."""
    whole = memory_there_is()
    return min(max(whole // 4, min(LEAST_DEFAULT, whole * 3 // 4)), MOST_DEFAULT)
