"""The scan of the delivered init events, which stays behind the source."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.lookup import delivered_inits, looking_up, undelivered_by_index
from connectors.run_state import END
from connectors.sqlite import Connection, execute, query, scalar
from connectors.undelivered import HIGHEST_ROWID
from operators.delivered import DeliveredInits

LOWEST_ROWID = "SELECT min(rowid) FROM ceramic_one_event"
FEW_UNDELIVERED = """
    SELECT count(*) FROM (SELECT 1 FROM ceramic_one_event WHERE delivered IS NULL LIMIT ?)
"""
"""Counts undelivered events by the index on `delivered`, up to a number."""


@dataclass(frozen=True)
class ScanSettings:
    """When the delivered init events are read from all rows in a row, and how."""

    least_share: float = 1 / 10
    """The share of all events that must be undelivered for a scan. To look a parent up takes five
    times as long as to read a row, and far longer where the database is larger than memory. Above
    1: there is no scan."""
    rows: int = 65_536
    """Rows of one statement at most; they take some 30 ms."""
    step: int = 8192
    """Rows that the source must have read beyond the scan: as many as a page of it has. The scan
    then finds them in the page cache, and the disk reads them once."""
    wait_seconds: float = 0.02
    """Seconds until the scan looks again how far the source is; a page takes longer."""


class InitScan:
    """Which init events are delivered.

    After a migration they are all that is delivered, and every stream asks for its own. The scan
    has a thread of its own: the flow does not wait for it.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], Connection],
        inits: DeliveredInits,
        settings: ScanSettings,
        *,
        has_init_cid: Callable[[], bool],
        read_to: Callable[[], int | None] | None,
        counted_hidden: Callable[[int], None],
    ) -> None:
        """Start the scan; it waits for a source that has not started until somebody asks.

        Args:
            path: the database.
            connect: opens a connection.
            inits: takes what is found.
            settings: when and how to scan.
            has_init_cid: whether the table has the column `init_cid`.
            read_to: how far the source is, see `RunState.read_to`; None: there is none.
            counted_hidden: gets, after a whole scan, how many undelivered events are there that the
                index on `delivered` does not show.
        """
        self._path, self._connect, self._settings = path, connect, settings
        self._inits, self._has_init_cid = inits, has_init_cid
        self._read_to, self._counted_hidden = read_to, counted_hidden
        self._hurry = Event()
        """Set when the scan must not wait for the source any more."""
        self._is_closing = False
        self.done = Future[bool]()
        """Whether all rows were scanned; False: look-ups of parents are too few for that, or there
        is no room."""
        # a daemon: a process that makes a flow and never runs it can end
        Thread(target=self._run, name="inits", daemon=True).start()

    def holds(self, cids: pa.Array, *, may_wait: bool) -> tuple[NDArray[np.bool_], bool]:
        """Which of n CIDs are delivered init events, as far as is known; whether all is known.

        With `may_wait` all is known once the source is at its end.

        Raises:
            InterruptedRunError: the database can't be read.
            OSError: the scratch folder can't be.
        """
        if self._read_to is None or self._read_to() in {None, END}:
            # the flow asks now, so the scan need not wait for it any longer
            self._hurry.set()
            if may_wait:
                wait([self.done])
        is_done = self.done.done()
        if is_done:
            # raises what has stopped it
            self.done.result()
        return self._inits.holds(cids), is_done

    def _run(self) -> None:
        try:
            self.done.set_result(self._scan())
        except BaseException as cause:  # noqa: BLE001 # whoever asks must hear of it
            self.done.set_exception(cause)

    def _scan(self) -> bool:
        least = self._settings.least_share
        if least > 1 or not self._has_init_cid() or not self._many_are_undelivered(least):
            return False
        for cids in self._delivered_inits():
            # what fails here is the scratch folder, not the database
            if self._is_closing or not self._inits.add(cids):
                return False
        self._inits.seal()
        return True

    def _many_are_undelivered(self, least_share: float) -> bool:
        """Whether so many parents may be asked for that a scan of all rows is worth it."""
        with looking_up(self._path), closing(self._connect(self._path)) as connection:
            enough = max(1, int(scalar(connection, HIGHEST_ROWID) * least_share))
            return int(scalar(connection, FEW_UNDELIVERED, (enough,))) >= enough

    def _delivered_inits(self) -> Iterator[pa.Array]:
        """Their CIDs, some rows at a time.

        The undelivered events are counted on the way, because to read all rows once more takes long
        where the database is larger than memory.
        """
        hidden, last = 0, 0
        with looking_up(self._path), closing(self._connect(self._path)) as connection:
            lowest = scalar(connection, LOWEST_ROWID) or 0
            highest = scalar(connection, HIGHEST_ROWID)
            statement, by_index = delivered_inits(connection), undelivered_by_index(connection)
            while last < highest:
                after, last = last, self._await_source(last, highest)
                # both see the same state, whatever the run writes at the same time
                execute(connection, "BEGIN")
                found = query(connection, statement, (after + 1, last))["cid"]
                shown = int(scalar(connection, by_index, (after + 1, last)))
                execute(connection, "COMMIT")
                cids = pa.concat_arrays([pa.array([], pa.binary()), *found.chunks])
                is_init = pc.greater(pc.binary_length(cids), 0)
                inits = cids.filter(is_init)
                hidden += len(cids) - len(inits) - shown
                yield inits
        if lowest > 0:
            self._counted_hidden(hidden)

    def _await_source(self, after: int, highest: int) -> int:
        """The last rowid of the next step, once the source has read so far."""
        furthest = min(after + self._settings.rows, highest)
        while self._read_to is not None and not self._hurry.is_set():
            reached = self._read_to()
            if reached is not None and reached >= min(after + self._settings.step, highest):
                return min(furthest, reached)
            self._hurry.wait(self._settings.wait_seconds)
        return furthest

    def close(self) -> None:
        """Stop, and wait until it has."""
        self._is_closing = True
        self._hurry.set()
        wait([self.done])
