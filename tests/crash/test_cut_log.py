"""Power loss, by what is left of the write-ahead log: the database is as it was after the last whole batch in it."""

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.crash.conftest import Children, Faults, Numbers, Template, check_rerun, check_stopped

HEADER = 32
FRAME = 24 + 4096
"""Bytes of the log's header and of each frame in it (https://www.sqlite.org/fileformat.html#walformat, with the node's page size)."""


@dataclass(frozen=True)
class Killed:
    """What a run left that was killed before its log reached the database."""

    database: bytes
    log: bytes
    folder: Path

    @property
    def frames(self) -> int:
        """Whole frames of the log."""
        return (len(self.log) - HEADER) // FRAME

    @cached_property
    def commits(self) -> list[int]:
        """After how many frames each transaction is complete: its last frame tells the size of the database."""
        sizes = (self.log[HEADER + frame * FRAME + 4 :][:4] for frame in range(self.frames))
        return [frame + 1 for frame, size in enumerate(sizes) if any(size)]

    def with_log(self, log: bytes) -> Path:
        """The database with another log beside it."""
        database = self.folder / "node.db"
        database.write_bytes(self.database)
        database.with_name("node.db-wal").write_bytes(log)
        database.with_name("node.db-shm").unlink(missing_ok=True)
        return database


@pytest.fixture(scope="module")
def killed(small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path) -> Killed:
    """What a run left that was killed in the middle of a write, some batches after the last checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    database = small.copy(folder)
    Children(folder, lambda: faults_library).run(database, "--batch-rows", "40", "--quiet", faults=Faults("kill", first=1000))
    left = Killed(database.read_bytes(), database.with_name("node.db-wal").read_bytes(), folder)
    assert len(left.commits) > 5
    return left


@pytest.fixture(scope="module")
def states(small: Template, killed: Killed) -> list[Numbers]:
    """The numbers after none of the batches in the log, after the first, after the second, ..."""
    ends = [HEADER + commit * FRAME for commit in (0, *killed.commits)]
    states = [check_stopped(small.contents, killed.with_log(killed.log[:end])) for end in ends]
    assert all(len(earlier) < len(later) for earlier, later in pairwise(states))
    return states


def _check_cuts(killed: Killed, states: list[Numbers], small: Template, lengths: Iterable[int]) -> None:
    for length in lengths:
        numbers = check_stopped(small.contents, killed.with_log(killed.log[:length]))
        frames = (length - HEADER) // FRAME
        assert numbers == states[bisect(killed.commits, frames)], f"log cut to {length} bytes"


def _check_flips(killed: Killed, states: list[Numbers], small: Template, positions: Iterable[int]) -> None:
    for position in positions:
        log = bytearray(killed.log)
        log[position // 8] ^= 1 << position % 8
        numbers = check_stopped(small.contents, killed.with_log(bytes(log)))
        frames = (position // 8 - HEADER) // FRAME
        assert numbers == states[bisect(killed.commits, frames)], f"bit {position} of the log flipped"


def _around(frames: Iterable[int]) -> list[int]:
    """The lengths of a log that ends with these frames, and a byte less or more."""
    return [HEADER + frame * FRAME + byte for frame in frames for byte in (-1, 0, 1)]


def test_a_log_cut_anywhere_holds_the_batches_before(killed: Killed, states: list[Numbers], small: Template, rng: Random) -> None:
    some_frames = rng.sample(range(killed.frames), 15)
    _check_cuts(killed, states, small, [0, *_around([0, *killed.commits, *some_frames])])


def test_a_bit_flipped_in_the_log_costs_its_batch_and_those_behind(
    killed: Killed, states: list[Numbers], small: Template, rng: Random
) -> None:
    last_bits = range(8 * HEADER, 8 * (HEADER + FRAME * killed.commits[-1]))
    _check_flips(killed, states, small, rng.sample(last_bits, 40))


def test_a_rerun_finishes_with_any_log(killed: Killed, small: Template, children: Children, rng: Random) -> None:
    for length in (0, *rng.sample(range(HEADER, len(killed.log)), 3)):
        check_rerun(small.contents, killed.with_log(killed.log[:length]), children)


@pytest.mark.soak
def test_every_cut_and_many_flips(killed: Killed, states: list[Numbers], small: Template, rng: Random) -> None:
    _check_cuts(killed, states, small, _around(range(killed.frames)))
    _check_flips(killed, states, small, rng.sample(range(8 * HEADER, 8 * len(killed.log)), 2000))
