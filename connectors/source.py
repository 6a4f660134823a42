"""The partitioned source: undelivered events with their blocks, by runs of rowids modulo N."""

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.page_sizes import PageSizes
from connectors.pages import read_pages
from connectors.run_state import RunState
from connectors.sqlite import (
    CHECK_DISK,
    DATABASE_ERRORS,
    Connection,
    connect,
    rerun_helps,
    sqlite_says,
)
from connectors.undelivered import FIRST, undelivered_runs
from operators.schemas import Page

PAGES_AHEAD = 1
"""Pages that wait for the flow, while a partition reads one more."""

PAGES_A_RELEASE = 16
"""After so many pages of a partition the allocator gives back the memory that it holds unused:
a tenth of the peak, for 1 % of the time."""

PAGE_SECONDS = 0.0005
"""How long all partitions together wait for their next pages, each for its part of it: meanwhile
the others of its worker are not asked."""

LONG_AGO = datetime.fromtimestamp(0, UTC)
"""When a partition wants to be asked again. Bytewax compares that, and by itself a time one
millisecond ahead, with the clock of the machine: set back by an hour, the flow would wait so long.
"""

STATE = "in the database"
"""The state that Bytewax's recovery gets to store."""

PARTITIONS = min(8, max(1, (os.cpu_count() or 1) // 2))
"""Partitions of the source: each reads ahead in a thread of its own, while other threads order and
write. On two cores a second one made a run with its database in memory 10 % slower, and one with a
cold cache 2 % faster; eight made that 17 % faster."""


@dataclass(frozen=True)
class UndeliveredSource(FixedPartitionedSource[Page, str]):
    """Undelivered events, as pages of events with their blocks.

    An empty root or payload is not in the database. The column `event_blocks` is
    empty without `event_blocks`.

    Partition `i/N` reads the runs of rowids whose number is i modulo N, in rowid order.

    What is undelivered stands in the database, so a run that was stopped is simply started again.
    Bytewax's recovery would skip what an earlier run has read and not written, or what another
    database holds under the same rowids: the source refuses to resume.
    """

    path: Path
    run_state: RunState
    partitions: int = PARTITIONS
    connect: Callable[[Path], Connection] = connect
    """Opens a connection for each reading thread."""
    event_blocks: bool = True
    """Whether a page says which blocks are listed for its events, and brings those stored among
    their blocks: what a check needs, for a third of the time of reading."""
    sizes: PageSizes = field(default_factory=PageSizes)

    def list_parts(self) -> list[str]:
        """The names `0/N` to `N-1/N`."""
        return [f"{index}/{self.partitions}" for index in range(self.partitions)]

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 # Bytewax's signature
        for_part: str,
        resume_state: str | None,
    ) -> "_Partition":
        """Start to read ahead.

        Raises:
            CannotStartError: there is a state to resume from.
        """
        if resume_state is not None:
            error = CannotStartError(
                f"Can't resume reading `{self.path}` from a recovery store",
                why="what is undelivered stands in the database itself",
                advice="Run without the recovery store (`-r`): every run goes on where the last "
                "one ended.",
            )
            self.run_state.fail(error)
            raise error
        return _Partition(self, for_part)

    def runs(self, connection: Connection, part: str, start: int) -> Iterator[pa.RecordBatch]:
        """The events of a partition from a rowid on, some at a time."""
        return undelivered_runs(connection, part, self.sizes.run_rows, start)

    def pages(
        self, connection: Connection, part: str, start: int = FIRST
    ) -> Generator[Page, None, None]:
        """The pages of the partition `part`, named `i/N`, from the rowid `start` on."""
        return read_pages(
            connection,
            self.runs(connection, part, start),
            self.sizes,
            event_blocks=self.event_blocks,
        )


class _Partition(StatefulSourcePartition[Page, str]):
    def __init__(self, source: UndeliveredSource, name: str) -> None:
        self._source = source
        self._name = name
        self._pages_read = 0
        self._pages: queue.Queue[Page | BaseException | None] = queue.Queue(PAGES_AHEAD)
        self._stop = threading.Event()
        source.run_state.reach_rowid(name, FIRST)
        self._reader = threading.Thread(target=self._read_ahead, name=f"read {name}", daemon=True)
        self._reader.start()

    def next_batch(self) -> list[Page]:
        try:
            page = self._pages.get(timeout=PAGE_SECONDS / self._source.partitions)
        except queue.Empty:
            return []
        if page is None:
            # what pages took is free, but still held: at the end of input the rest is ordered all
            # at once
            pa.default_memory_pool().release_unused()
            self._source.run_state.end_partition(self._name)
            raise StopIteration
        if isinstance(page, BaseException):
            self._source.run_state.fail(page)
            raise page
        self._pages_read += 1
        if self._pages_read % PAGES_A_RELEASE == 0:
            pa.default_memory_pool().release_unused()
        self._source.run_state.add_discovered(page.events.num_rows)
        return [page]

    def next_awake(self) -> datetime:
        return LONG_AGO

    def snapshot(self) -> str:
        return STATE

    def close(self) -> None:
        self._stop.set()
        self._reader.join()

    def _read_ahead(self) -> None:
        where = "at its start"
        try:
            with (
                closing(self._source.connect(self._source.path)) as connection,
                closing(self._source.pages(connection, self._name)) as pages,
            ):
                while (page := self._read(pages)) is not None:
                    where = f"after rowid `{page.events['rowid'][-1]}`"
                    if not self._hand_over(page):
                        return
            self._hand_over(None)
        except DATABASE_ERRORS as cause:
            self._hand_over(
                InterruptedRunError(
                    f"Reading `{self._source.path}` failed {where} in partition `{self._name}`",
                    why=sqlite_says(cause),
                    advice=CHECK_DISK,
                    retry=rerun_helps(cause),
                )
            )
        except BaseException as cause:  # noqa: BLE001 # else the flow would wait for ever
            self._hand_over(cause)

    def _read(self, pages: Iterator[Page]) -> Page | None:
        """The next page, None after the last."""
        with self._source.run_state.measure("read", 0) as measured:
            page = next(pages, None)
            measured.rows = 0 if page is None else page.events.num_rows
        if page is not None:
            self._source.run_state.reach_rowid(self._name, page.events["rowid"][-1].as_py())
        return page

    def _hand_over(self, page: Page | BaseException | None) -> bool:
        """Wait for room in the queue; False if the partition was closed while it waited."""
        while not self._stop.is_set():
            try:
                self._pages.put(page, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
