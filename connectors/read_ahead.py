"""Has pages of the event table read before the transaction that needs them comes to them.

A database that is larger than memory is read twice: once for its events, and once more where their
numbers are written. There the leaves of the event table lie between pages of other tables. Left
alone, the system reads these too, because it guesses what comes next.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.sqlite import Connection, scalar

INTERIOR, LEAF = 5, 13
"""The first byte of a page of a table (sqlite.org/fileformat2.html, B-tree Pages)."""

MOST_LEVELS = 20
"""Levels of a tree that SQLite goes down."""

CELL_BYTES = 13
"""A cell of an interior page, at most: the number of a page, and the largest rowid below it."""

MORE = 128
"""The bit of a byte of such a rowid that says that another one follows."""

MOST_ROWID = 2**63 - 1

ROOT_OF_EVENTS = "SELECT rootpage FROM sqlite_schema WHERE name = 'ceramic_one_event'"


class EventPages:
    """The leaves of the event table in the file, in the order of their rowids.

    A hint only: they are found as the last checkpoint left them, and what is damaged ends it.
    """

    def __init__(self, descriptor: int, connection: Connection) -> None:
        """Look at nothing yet.

        Args:
            descriptor: of the database file. It stays open: closing it would drop all locks that
                this process has on the file.
            connection: to the same file.
        """
        self._descriptor = descriptor
        self._page_bytes = int(scalar(connection, "PRAGMA page_size"))
        root = int(scalar(connection, ROOT_OF_EVENTS))
        self._parts = self._below(root, MOST_ROWID, MOST_LEVELS)
        self._rowid = np.zeros(0, dtype=np.int64)
        """The largest rowid of each leaf that was found and is not behind."""
        self._page = np.zeros(0, dtype=np.int64)
        """The numbers of these leaves."""
        self._wanted = self._reached = -MOST_ROWID - 2
        """The least rowid that may still be asked for, and the largest one of the leaves."""

    def ask_for(self, rowids: NDArray[np.int64]) -> None:
        """Have the system begin to read the leaves of these rowids.

        Args:
            rowids: rising, also from call to call.
        """
        # what can't be read or is damaged is found out about where it is needed
        with suppress(OSError, ValueError):
            pages = np.sort(self.leaves(rowids))
            for run in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
                start, size = (run[:1] - 1) * self._page_bytes, len(run) * self._page_bytes
                for offset in start.tolist():
                    os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def leaves(self, rowids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the pages that hold these rowids, each once, in their order.

        Args:
            rowids: rising, also from call to call.

        Raises:
            OSError: a page can't be read.
            ValueError: a page is damaged, or the table has one page only.
        """
        self._wanted = int(rowids[0])
        self._find(int(rowids[-1]))
        leaves = np.unique(np.searchsorted(self._rowid, rowids))
        found = self._page[leaves[leaves < len(self._page)]]
        behind = leaves[-1]
        self._rowid, self._page = self._rowid[behind:], self._page[behind:]
        return found

    def _find(self, rowid: int) -> None:
        """Find leaves until one reaches this rowid."""
        found = [(self._rowid, self._page)]
        while self._reached < rowid and (part := next(self._parts, None)) is not None:
            found.append(part)
        self._rowid, self._page = (np.concatenate(column) for column in zip(*found, strict=True))

    def _below(
        self, page: int, most: int, levels: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The leaves below an interior page that holds rowids up to `most`."""
        rowids, children = self._children(page, most)
        if not levels:
            raise ValueError(page)
        if self._read(int(children[0]), 1) != bytes([LEAF]):
            for child, rowid in zip(children.tolist(), rowids.tolist(), strict=True):
                if rowid >= self._wanted:
                    yield from self._below(child, rowid, levels - 1)
            return
        if int(rowids[0]) <= self._reached or (np.diff(rowids) <= 0).any():
            raise ValueError(page)
        self._reached = int(rowids[-1])
        yield rowids, children

    def _children(self, page: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The largest rowid and the number of each page below an interior page."""
        content = self._read(page, self._page_bytes)
        header = 100 if page == 1 else 0
        if content[header] != INTERIOR:
            raise ValueError(page)
        count = int.from_bytes(content[header + 3 : header + 5], "big")
        last_child = int.from_bytes(content[header + 8 : header + 12], "big")
        starts = np.frombuffer(content, ">u2", count, header + 12).astype(np.int64)
        every = np.frombuffer(content, np.uint8).astype(np.int64)
        cells = every.take(starts[:, None] + np.arange(CELL_BYTES), mode="clip")
        children = cells[:, :4] @ (1 << np.array([24, 16, 8, 0]))
        return np.append(_varints(cells[:, 4:]), most), np.append(children, last_child)

    def _read(self, page: int, size: int) -> bytes:
        content = os.pread(self._descriptor, size, (page - 1) * self._page_bytes)
        if len(content) < size:
            raise ValueError(page)
        return content


def _varints(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """SQLite's integers of up to nine bytes, one a row."""
    values = np.zeros(len(cells), dtype=np.int64)
    goes_on = np.ones(len(cells), dtype=np.bool_)
    for byte in cells[:, :8].T:
        values = np.where(goes_on, values << 7 | byte & ~MORE, values)
        goes_on &= byte >= MORE
    return np.where(goes_on, values << 8 | cells[:, 8], values)


def read_ahead(chunks: Iterable[pa.RecordBatch], pages: EventPages) -> Iterator[pa.RecordBatch]:
    """The same chunks, of rising `rowid`; while one is used, the pages of the next one are read."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as thread:
        waiting: pa.RecordBatch | None = None
        for chunk in chunks:
            asked = thread.submit(pages.ask_for, np.asarray(chunk["rowid"]))
            if waiting is not None:
                yield waiting
            asked.result()
            waiting = chunk
        if waiting is not None:
            yield waiting
