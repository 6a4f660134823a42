"""Reading ahead: the right pages, in time, and never an error of its own."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.read_ahead import EventPages, read_ahead
from connectors.sqlite import connect

EVENTS = 20_000
ROWIDS = {
    "dense": list(range(EVENTS)),
    "sparse": list(range(0, EVENTS * 1_000_003, 1_000_003)),
    "from the least to the largest": [
        -(2**63),
        *range(1 - EVENTS // 2, EVENTS // 2 - 1),
        2**63 - 1,
    ],
}
LEAVES = """
    SELECT pageno, ncell FROM dbstat
    WHERE name = 'ceramic_one_event' AND pagetype = 'leaf' ORDER BY path
"""


def filled(path: Path, rowids: Sequence[int] = range(EVENTS), page_bytes: int = 512) -> Path:
    """A database whose event table has several levels of pages."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("CREATE TABLE ceramic_one_event (id INTEGER PRIMARY KEY, a)")
        connection.executemany(
            "INSERT INTO ceramic_one_event VALUES (?, ?)",
            ((rowid, bytes(20 + at * 7 % 90)) for at, rowid in enumerate(rowids)),
        )
        connection.commit()
    return path


def leaf_of_each(path: Path) -> list[int]:
    """The page of each event, in the order of rowids, as SQLite itself says."""
    with closing(sqlite3.connect(path)) as connection:
        leaves = connection.execute(LEAVES).fetchall()
    return [page for page, events in leaves for _ in range(events)]


INTERIOR = """
    SELECT pageno FROM dbstat
    WHERE name = 'ceramic_one_event' AND pagetype = 'internal' ORDER BY path
"""


def _rising(parts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The same numbers, rising over all parts of the same lengths."""
    every = iter(sorted({number for part in parts for number in part}))
    cut = [[number for _, number in zip(part, every, strict=False)] for part in parts]
    return [part for part in cut if part]


class Asked:
    """The pages of a database, through a descriptor of its own."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        with closing(connect(path)) as connection:
            self.pages = EventPages(self.descriptor, connection)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[int]]]:
    folder = tmp_path_factory.mktemp("pages")
    paths = {name: filled(folder / name, rowids) for name, rowids in ROWIDS.items()}
    return {name: (path, leaf_of_each(path)) for name, path in paths.items()}


@pytest.mark.parametrize("name", ROWIDS)
@given(
    st.lists(
        st.lists(st.integers(0, EVENTS - 1), min_size=1, max_size=50, unique=True), max_size=5
    ).map(_rising)
)
def test_the_pages_are_those_that_hold_the_events(
    databases: dict[str, tuple[Path, list[int]]], name: str, parts: list[list[int]]
) -> None:
    path, leaves = databases[name]
    with closing(Asked(path)) as asked:
        for part in parts:
            found = asked.pages.leaves(np.array([ROWIDS[name][event] for event in part]))
            assert found.tolist() == list(dict.fromkeys(leaves[event] for event in part))


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_each_page_is_named_once_for_all_events(tmp_path: Path, page_bytes: int) -> None:
    path = filled(tmp_path / "db", page_bytes=page_bytes)
    with closing(Asked(path)) as asked:
        found = asked.pages.leaves(np.arange(EVENTS))
    assert found.tolist() == list(dict.fromkeys(leaf_of_each(path)))


def test_what_was_asked_for_comes_into_memory(tmp_path: Path) -> None:
    path = filled(tmp_path / "db", page_bytes=4096)
    leaf = leaf_of_each(path)[EVENTS // 2]
    with closing(Asked(path)) as asked:
        os.fsync(asked.descriptor)
        os.posix_fadvise(asked.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if _is_in_memory(asked.descriptor, leaf):
            pytest.skip("this file system keeps all in memory, or does not say")
        asked.pages.ask_for(np.array([EVENTS // 2]))
        deadline = time.monotonic() + 30
        while not _is_in_memory(asked.descriptor, leaf):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _is_in_memory(descriptor: int, page: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(4096)], (page - 1) * 4096, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    except OSError:  # not on this file system
        return True


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "the root itself": lambda root: root,
    "zeros": lambda root: bytes(len(root)),
    "ones": lambda root: b"\x05" + b"\xff" * (len(root) - 1),
    "no cells": lambda root: b"\x05" + bytes(len(root) - 1),
    "the end of the file": lambda _: b"",
}
"""What an interior page is overwritten by, of the content of the root."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_page_ends_the_hints_and_nothing_else(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path / "db")
    whole = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        root, *interior = [page for (page,) in connection.execute(INTERIOR)]
    content = DAMAGE[damage](whole[(root - 1) * 512 : root * 512])
    for page in (interior[0], interior[len(interior) // 2], interior[-1]):
        with closing(Asked(path)) as asked, closing(Asked(path)) as strict:
            after = whole[page * 512 :] if content else b""
            path.write_bytes(whole[: (page - 1) * 512] + content + after)
            with pytest.raises((OSError, ValueError)):
                strict.pages.leaves(np.arange(EVENTS))
            for start in range(0, EVENTS, 5000):
                asked.pages.ask_for(np.arange(start, start + 5000))
        path.write_bytes(whole)


def test_a_table_of_one_page_needs_no_hint(tmp_path: Path) -> None:
    path = filled(tmp_path / "db", range(3))
    with closing(Asked(path)) as asked, closing(Asked(path)) as strict:
        asked.pages.ask_for(np.arange(3))
        with pytest.raises(ValueError, match=r"^\d+$"):
            strict.pages.leaves(np.arange(3))


@pytest.mark.parametrize("chunks", [0, 1, 2, 5])
def test_chunks_come_as_they_are(tmp_path: Path, chunks: int) -> None:
    given_chunks = [
        pa.record_batch([pa.array(range(start, start + 10))], names=["rowid"])
        for start in range(0, 10 * chunks, 10)
    ]
    with closing(Asked(filled(tmp_path / "db"))) as asked:
        assert list(read_ahead(given_chunks, asked.pages)) == given_chunks


def test_a_chunk_comes_when_the_next_one_was_asked_for(tmp_path: Path) -> None:
    made = []

    def chunks() -> Iterator[pa.RecordBatch]:
        for start in range(0, 30, 10):
            made.append(start)
            yield pa.record_batch([pa.array(range(start, start + 10))], names=["rowid"])

    with closing(Asked(filled(tmp_path / "db"))) as asked:
        ahead = read_ahead(chunks(), asked.pages)
        next(ahead)
        assert made == [0, 10]
        assert [len(chunk) for chunk in ahead] == [10, 10]
