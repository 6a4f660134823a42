"""The frames that are taken from a WAL are those that SQLite takes."""

import shutil
from contextlib import closing
from pathlib import Path
from random import Random
from struct import pack_into, unpack_from

import pytest

from connectors.sqlite import connect, query
from connectors.wal_frames import FRAME_HEADER_BYTES, WAL_HEADER_BYTES, WAL_MAGIC, read_frames
from tests.support.job import chain, store
from tests.support.other_programs import leave_wal

PAGE = 4096
FRAME = FRAME_HEADER_BYTES + PAGE
STATEMENTS = [
    f"UPDATE ceramic_one_event SET delivered = {number} WHERE rowid = 2" for number in range(5, 9)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = store(tmp_path / "node.db", chain(3))
    grow = "INSERT INTO _sqlx_migrations VALUES (99, hex(zeroblob(9000)), 0, 1, x'', 0)"
    leave_wal(path, STATEMENTS[0], grow, *STATEMENTS[1:])
    path.with_name("node.db-shm").unlink()
    return path


def frames_of_sqlite(path: Path) -> int:
    """How many frames SQLite finds in the WAL; those of a copy, since it then checkpoints them."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    with closing(connect(copy, "rw")) as connection:
        return int(query(connection, "PRAGMA wal_checkpoint(PASSIVE)")["log"][0].as_py())


def frames_of_ours(path: Path) -> int:
    found = read_frames(path.with_name("node.db-wal"))
    return 0 if found is None else len(found.pages)


def test_a_damaged_byte_ends_the_wal_where_it_ends_for_sqlite(path: Path) -> None:
    wal, rng = path.with_name("node.db-wal"), Random(1)
    whole = wal.read_bytes()
    frames = frames_of_ours(path)
    assert frames == frames_of_sqlite(path) == (len(whole) - WAL_HEADER_BYTES) // FRAME
    places = [0, 5, 13, 17, 25, 31, *(WAL_HEADER_BYTES + at for at in (0, 5, 9, 17, FRAME + 18))]
    found = set()
    for place in [*places, *rng.sample(range(WAL_HEADER_BYTES, len(whole)), 20)]:
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        wal.write_bytes(damaged)
        assert frames_of_ours(path) == frames_of_sqlite(path), place
        found.add(frames_of_ours(path))
    assert len(found) > 3, found


def test_checksums_of_big_endian_words_are_known_too(path: Path) -> None:
    wal = path.with_name("node.db-wal")
    content = bytearray(wal.read_bytes())
    pack_into(">I", content, 0, WAL_MAGIC | 1)
    sums = _sums((0, 0), bytes(content[:24]))
    pack_into(">2I", content, 24, *sums)
    frames = (len(content) - WAL_HEADER_BYTES) // FRAME
    for start in range(WAL_HEADER_BYTES, len(content), FRAME):
        sums = _sums(sums, bytes(content[start : start + 8]))
        sums = _sums(sums, bytes(content[start + FRAME_HEADER_BYTES : start + FRAME]))
        pack_into(">2I", content, start + 16, *sums)
    wal.write_bytes(content)
    assert frames_of_ours(path) == frames_of_sqlite(path) == frames


def _sums(begin: tuple[int, int], content: bytes) -> tuple[int, int]:
    """The checksums as SQLite's file format defines them, word by word."""
    first, second = begin
    for at in range(0, len(content), 8):
        one, other = unpack_from(">2I", content, at)
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
