"""Power loss, by what is left of the WAL: its last whole batch is the state.

The log is the first of its run, or one that was begun anew after a checkpoint: behind its own
frames stand those of the log before, which are told by their salt.
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
"""Bytes of the log's header and of each frame in it
(https://www.sqlite.org/fileformat.html#walformat, with the node's page size)."""
SALT = slice(16, 24)
"""Of the log's header; each frame has the same behind its first eight bytes."""


@dataclass(frozen=True)
class Left:
    """What a run left that was stopped before its log reached the database."""

    database: bytes
    log: bytes
    folder: Path

    @cached_property
    def frames(self) -> int:
        """Whole frames of the log that are its own."""
        salts = (
            self.log[HEADER + frame * FRAME + 8 :][:8]
            for frame in range((len(self.log) - HEADER) // FRAME)
        )
        return sum(1 for _ in takewhile(lambda salt: salt == self.log[SALT], salts))

    @cached_property
    def commits(self) -> list[int]:
        """After how many frames each transaction is complete."""
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
def killed(small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path) -> Left:
    """What a run left that was killed in the middle of a write, its log the first."""
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
        fifth = [at for at in recorded.commits if at > restart][4]
        moment = fifth + 2 * 3  # the page of its last frame, and two frames and a half
        if any(restart < at < moment for at in recorded.checkpoints):
            continue
        files = recorded.disk(moment).as_written()
        left = Left(bytes(files[MAIN]), bytes(files[WAL]), folder)
        if (len(left.log) - HEADER) // FRAME > left.frames:
            return left
    raise AssertionError("no log that was begun anew over a longer one reached its sixth batch")


@pytest.fixture(scope="module", params=["killed", "restarted"])
def left(request: pytest.FixtureRequest) -> Left:
    """Each of these."""
    found: Left = request.getfixturevalue(request.param)
    assert len(found.commits) > 4
    return found


@pytest.fixture(scope="module")
def states(small: Template, left: Left) -> list[Numbers]:
    """The numbers after none of the batches in the log, after the first, after the second, ..."""
    ends = [HEADER + commit * FRAME for commit in (0, *left.commits)]
    states = [check_stopped(small.contents, left.with_log(left.log[:end])) for end in ends]
    assert all(len(earlier) < len(later) for earlier, later in pairwise(states))
    return states


def _check_cuts(left: Left, states: list[Numbers], small: Template, lengths: Iterable[int]) -> None:
    for length in lengths:
        numbers = check_stopped(small.contents, left.with_log(left.log[:length]))
        frames = (length - HEADER) // FRAME
        assert numbers == states[bisect(left.commits, frames)], f"log cut to {length} bytes"


def _check_flips(
    left: Left, states: list[Numbers], small: Template, positions: Iterable[int]
) -> None:
    for position in positions:
        log = bytearray(left.log)
        log[position // 8] ^= 1 << position % 8
        numbers = check_stopped(small.contents, left.with_log(bytes(log)))
        frames = (position // 8 - HEADER) // FRAME
        assert numbers == states[bisect(left.commits, frames)], f"bit {position} of the log flipped"


def _around(frames: Iterable[int]) -> list[int]:
    """The lengths of a log that ends with these frames, and a byte less or more."""
    return [HEADER + frame * FRAME + byte for frame in frames for byte in (-1, 0, 1)]


def test_a_log_cut_anywhere_holds_the_batches_before(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    some_frames = rng.sample(range(left.frames), 15)
    _check_cuts(left, states, small, [0, *_around([0, *left.commits, *some_frames])])


def test_a_bit_flipped_in_the_log_costs_its_batch_and_those_behind(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    last_bits = range(8 * HEADER, 8 * (HEADER + FRAME * left.commits[-1]))
    _check_flips(left, states, small, rng.sample(last_bits, 40))


def test_a_rerun_finishes_with_any_log(
    left: Left, small: Template, children: Children, rng: Random
) -> None:
    for length in (0, *rng.sample(range(HEADER, len(left.log)), 3)):
        check_rerun(small.contents, left.with_log(left.log[:length]), children)


@pytest.mark.soak
def test_every_cut_and_many_flips(
    left: Left, states: list[Numbers], small: Template, rng: Random
) -> None:
    _check_cuts(left, states, small, _around(range(left.frames)))
    _check_flips(left, states, small, rng.sample(range(8 * HEADER, 8 * len(left.log)), 2000))
