"""Blocks in other forms than the usual ones that were read with events, or looked up lately."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from operators.check.shared_blocks import SMALL, FetchBlocks

BLOCK_BYTES = 250
"""Bytes that Python takes for the entry of a block, without the block itself."""


class _Generation:
    """Blocks by multihash, and about how many bytes they take."""

    def __init__(self) -> None:
        self.size = 0
        self._contents: dict[bytes, bytes] = {}
        self._new: list[tuple[pa.Array, pa.Array]] = []

    def add(self, multihashes: pa.Array, contents: pa.Array) -> None:
        self._new.append((multihashes, contents))
        self.size += contents.nbytes + BLOCK_BYTES * len(contents)

    @property
    def contents(self) -> dict[bytes, bytes]:
        # most pages of events ask for none of these blocks
        for multihashes, contents in self._new:
            self._contents.update(zip(multihashes.to_pylist(), contents.to_pylist(), strict=True))
        self._new.clear()
        return self._contents


class RecentBlocks:
    """Keeps blocks until somebody takes them, or until a budget of newer ones has come."""

    def __init__(self, fetch: FetchBlocks, budget_bytes: int) -> None:
        """Keep `budget_bytes` in each of two generations; find what is not here by `fetch`."""
        self._fetch, self._budget_bytes = fetch, budget_bytes
        self._newer, self._older = _Generation(), _Generation()
        self._looked_up: dict[bytes, bytes | None] = {}
        """What was looked up for this page; None: there is no such block."""

    def turn_page(self) -> None:
        """Forget what was looked up for the last page."""
        self._looked_up = {}

    def add(self, multihashes: pa.Array, contents: pa.Array) -> None:
        """Keep blocks that were read with a page."""
        if self._newer.size >= self._budget_bytes:
            self._older, self._newer = self._newer, _Generation()
        self._newer.add(multihashes, contents)

    def among(self, multihashes: set[bytes]) -> set[bytes]:
        """Those of some multihashes whose blocks were read with events."""
        if not multihashes:
            return set()
        # not the union of both: it would be made anew for each page of events
        return (multihashes & self._newer.contents.keys()) | (
            multihashes & self._older.contents.keys()
        )

    def look_up(self, multihashes: Sequence[bytes]) -> Iterator[dict[bytes, bytes]]:
        """Fetch blocks, some at a time; the small ones are kept for this page."""
        self._looked_up = dict.fromkeys(multihashes)
        for found in self._fetch(pa.array(multihashes, pa.binary())):
            yield found
            for key, block in found.items():
                if len(block) <= SMALL:
                    self._looked_up[key] = block
                else:
                    # it is fetched again when its event is looked at alone
                    del self._looked_up[key]

    def take(self, multihashes: pa.Array) -> Iterator[dict[bytes, bytes]]:
        """Those of the blocks that there are; those that are not here are fetched."""
        held, absent = {}, []
        for wanted in multihashes.to_pylist():
            if wanted in self._looked_up:
                block = self._looked_up[wanted]
            else:
                # it is asked for once: the reader remembers what is in it
                block = self._newer.contents.pop(wanted, None)
                block = block or self._older.contents.pop(wanted, None)
                if block is None:
                    absent.append(wanted)
            if block is not None:
                held[wanted] = block
        yield held
        yield from self._fetch(pa.array(absent, pa.binary()))
