"""Power loss, by what is left of the WAL: its last whole batch is the state.

The WAL is the first of its run, or one that was started anew after a checkpoint: after its own
frames are those of the WAL before, which have another salt.
"""

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path
from random import Random

import pytest

from tests.crash.conftest import Children, Faults, Numbers, Template, check_rerun, check_stopped
from tests.crash.recorded import MAIN, WAL, record

HEADER = 32
FRAME = 24 + 4096
"""Bytes of the WAL's header and of each frame in it
(https://www.sqlite.org/fileformat.html#walformat, with the node's page size)."""
SALT = slice(16, 24)
"""Of the WAL's header; each frame has the same after its first eight bytes."""
BATCHES = 5
"""Of a WAL that is cut: so many whole ones, and a part of the next."""


@dataclass(frozen=True)
class Left:
    """What a run left that was stopped before its WAL reached the database."""

    database: bytes
    wal: bytes
    folder: Path

    @cached_property
    def frames(self) -> int:
        """Whole frames of the WAL that are its own."""
        salts = (
            self.wal[HEADER + frame * FRAME + 8 :][:8]
            for frame in range((len(self.wal) - HEADER) // FRAME)
        )
        return sum(1 for _ in takewhile(lambda salt: salt == self.wal[SALT], salts))

    @cached_property
    def commits(self) -> list[int]:
        """After how many frames each transaction is complete."""
        sizes = (self.wal[HEADER + frame * FRAME + 4 :][:4] for frame in range(self.frames))
        return [frame + 1 for frame, size in enumerate(sizes) if any(size)]

    def with_wal(self, wal: bytes) -> Path:
        """The database with another WAL next to it."""
        database = self.folder / "node.db"
        database.write_bytes(self.database)
        database.with_name("node.db-wal").write_bytes(wal)
        database.with_name("node.db-shm").unlink(missing_ok=True)
        return database


@pytest.fixture(scope="module")
def killed(small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path) -> Left:
    """What a run left that was killed in the middle of a write, its WAL the first."""
    folder = tmp_path_factory.mktemp("killed")
    database = small.copy(folder)
    Children(folder, lambda: faults_library).run(
        database, "--batch-rows", "40", "--quiet", faults=Faults("kill", first=1000)
    )
    return Left(database.read_bytes(), database.with_name("node.db-wal").read_bytes(), folder)


@pytest.fixture(scope="module")
def restarted(
    small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path
) -> Left:
    """The disk in the sixth batch of a WAL that was started anew over an older one."""
    folder = tmp_path_factory.mktemp("restarted")
    recorded = record(
        small, folder, faults_library, "--batch-rows", "20", program="tests.crash.miniature"
    )
    for restart in recorded.restarts:
        later = [at for at in recorded.commits if at > restart]
        if len(later) <= BATCHES:
            break
        moment = later[BATCHES - 1] + 2 * 3  # the page of its last frame, and two and a half more
        # a checkpoint of these batches may have written some pages already
        if any(change.file == MAIN for change in recorded.changes[restart:moment]):
            continue
        files = recorded.disk(moment).as_written()
        left = Left(bytes(files[MAIN]), bytes(files[WAL]), folder)
        if (len(left.wal) - HEADER) // FRAME > left.frames:
            return left
    raise AssertionError("no WAL that was started anew over a longer one reached its sixth batch")


@pytest.fixture(scope="module", params=["killed", "restarted"])
def left(request: pytest.FixtureRequest) -> Left:
    """Each of these."""
    found: Left = request.getfixturevalue(request.param)
    assert len(found.commits) >= BATCHES
    return found


@pytest.fixture(scope="module")
def states(small: Template, left: Left) -> list[Numbers]:
    """The numbers after none of the batches in the WAL, after the first, after the second, ..."""
    ends = [HEADER + commit * FRAME for commit in (0, *left.commits)]
    states = [check_stopped(small.contents, left.with_wal(left.wal[:end])) for end in ends]
    assert all(len(earlier) < len(later) for earlier, later in pairwise(states))
    return states


def _check_cuts(left: Left, states: list[Numbers], small: Template, lengths: Iterable[int]) -> None:
    for length in lengths:
        numbers = check_stopped(small.contents, left.with_wal(left.wal[:length]))
        frames = (length - HEADER) // FRAME
        assert numbers == states[bisect(left.commits, frames)], f"WAL cut to {length} bytes"


def _check_flips(
    left: Left, states: list[Numbers], small: Template, positions: Iterable[int]
) -> None:
    for position in positions:
        wal = bytearray(left.wal)
        wal[position // 8] ^= 1 << position % 8
        numbers = check_stopped(small.contents, left.with_wal(bytes(wal)))
        frames = (position // 8 - HEADER) // FRAME
        assert numbers == states[bisect(left.commits, frames)], f"bit {position} of the WAL flipped"


def _around(frames: Iterable[int]) -> list[int]:
    """The lengths of a WAL that ends with these frames, and a byte less or more."""
    return [HEADER + frame * FRAME + byte for frame in frames for byte in (-1, 0, 1)]


def test_a_wal_cut_anywhere_holds_the_batches_before(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    some_frames = rng.sample(range(left.frames), 15)
    _check_cuts(left, states, small, [0, *_around([0, *left.commits, *some_frames])])


def test_a_bit_flipped_in_the_wal_costs_its_batch_and_later_ones(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    last_bits = range(8 * HEADER, 8 * (HEADER + FRAME * left.commits[-1]))
    _check_flips(left, states, small, rng.sample(last_bits, 40))


def test_a_rerun_finishes_with_any_wal(
    left: Left, small: Template, children: Children, rng: Random
) -> None:
    for length in (0, *rng.sample(range(HEADER, len(left.wal)), 3)):
        check_rerun(small.contents, left.with_wal(left.wal[:length]), children)


@pytest.mark.soak
def test_every_cut_and_many_flips(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    _check_cuts(left, states, small, _around(range(left.frames)))
    _check_flips(left, states, small, rng.sample(range(8 * HEADER, 8 * len(left.wal)), 2000))
