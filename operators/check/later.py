"""Checks events that were put aside because blocks that they share were not kept in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.check.aside import Aside
from operators.check.event import EventCheck
from operators.check.needs import (
    MET,
    UNKNOWN,
    UNMET,
    Needs,
    answers_of,
    answers_of_store,
    multihashes_of,
)
from operators.check.shared_blocks import FetchBlocks
from operators.check.store import BlockStore
from operators.check.usual import USUAL, read_usual
from operators.encoding.columns import Mask
from operators.partitions import PartitionedFiles
from operators.schemas import DATA, INIT, LINKS, TIME, Reason

FetchEvents = Callable[[pa.Array], Iterator[pa.RecordBatch]]
"""From distinct CIDs to those events of them that the database holds, with schema RAW, some at a
time, since each may have megabytes; event blocks and order keys may be left out."""


@dataclass(frozen=True)
class AsideLimits:
    """When events are put aside instead of looking up their shared blocks one by one."""

    look_ups_at_once: int = 65_536
    """Look-ups that a run makes as it needs them: 0.3 s where the database is in memory. A small
    database needs no more."""
    look_ups_a_page: int = 64
    """From then on a page of events that needs more than this puts them aside."""
    settle_events: int = 16_384
    """When so many events are aside, and as many as `settle_share` says, all are checked."""
    settle_share: float = 1 / 8
    """The events that are aside, as a share of the shared blocks in files: all of these are read
    then, some 400 bytes for each event."""
    needs_together: int = 16_384
    """Needs whose blocks are in no file are collected up to so many, and looked up in the order of
    the keys."""


@dataclass(frozen=True)
class AsideSettings:
    """Where what does not fit in memory goes, and when events are put aside."""

    spill_folder: Callable[[], Path]
    """Makes a folder for this run alone when it is first called."""
    fetch_events: FetchEvents
    """Finds events again that were put aside and turn out to be odd."""
    limits: AsideLimits


class BlocksInFiles(PartitionedFiles):
    """Shared blocks of type USUAL for which there was no room in memory."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        super().__init__(folder, "blocks", USUAL)


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What this check has in common with that of whole pages."""

    lock: Lock
    store: BlockStore
    files: BlocksInFiles
    fetch: FetchBlocks
    alone: EventCheck


class LaterCheck:
    """Checks many events together: joins what they need with all blocks that have been read.

    Safe to share between threads: they wait for each other.
    """

    def __init__(self, settings: AsideSettings, budget_bytes: int, parts: SharedParts) -> None:
        """Hold `budget_bytes` of events in memory."""
        self._settings, self._budget_bytes, self._parts = settings, budget_bytes, parts
        self._names = count()

    def new_aside(self) -> Aside:
        """Where events are put that can't be checked yet, until `settle` does."""
        return Aside(
            self._settings.spill_folder,
            f"aside-{next(self._names)}",
            self._budget_bytes,
            self._parts.store.hashes,
        )

    def should_settle(self, aside: Aside) -> bool:
        """Whether so many events are aside that reading all blocks in files is worth it."""
        blocks = self._parts.files.rows
        return aside.events >= max(
            self._settings.limits.settle_events, int(blocks * self._settings.limits.settle_share)
        )

    def settle(self, aside: Aside) -> Iterator[tuple[pa.RecordBatch, list[Reason | None]]]:
        """Check all events that are aside, batch by batch, and forget them.

        Yields events of schema LINKS, each with the reason why a node could not serve it, or None.

        Raises:
            SpillError: the scratch folder can't take or give what does not fit in memory.
        """
        is_odd = self._unmet(aside)
        first = 0
        for events in aside.batches():
            links = events.select(LINKS.names)
            odd = is_odd[first : first + len(links)]
            first += len(links)
            reasons: list[Reason | None] = [None] * len(links)
            if odd.any():
                rows = np.flatnonzero(odd)
                with self._parts.lock:
                    found = self._check_again(links.take(pa.array(rows)))
                for row, reason in zip(rows.tolist(), found, strict=True):
                    reasons[row] = reason
            yield links, reasons
        aside.clear()

    def _unmet(self, aside: Aside) -> Mask:
        """Which of the events that are aside do not have all they need in the usual form."""
        unmet = np.zeros(aside.events, dtype=np.bool_)
        left: list[tuple[NDArray[np.int64], Needs]] = []
        for part, event, needs in aside.needs():
            # a block is in memory or in the files, whenever it is looked for under the lock
            with self._parts.lock:
                answers = answers_of_store(needs, self._parts.store)
                unknown = np.flatnonzero(answers == UNKNOWN)
                if len(unknown):
                    answers[unknown] = answers_of(needs[unknown], self._parts.files.read(part))
            unmet[event[answers == UNMET]] = True
            still = np.flatnonzero(answers == UNKNOWN)
            left.append((event[still], needs[still]))
            if sum(len(some) for some, _ in left) >= self._settings.limits.needs_together:
                self._look_up_together(left, unmet)
                left = []
        if left:
            self._look_up_together(left, unmet)
        return unmet

    def _look_up_together(self, left: list[tuple[NDArray[np.int64], Needs]], unmet: Mask) -> None:
        """Check what is left by blocks that are looked up, in the order of their keys."""
        event, needs = (np.concatenate(columns) for columns in zip(*left, strict=True))
        open_ones = np.flatnonzero(~unmet[event])
        event, needs = event[open_ones], needs[open_ones]
        if len(needs):
            records = [
                read_usual(
                    pa.array(found.keys(), pa.binary()), pa.array(found.values(), pa.binary())
                )[0]
                for found in self._parts.fetch(pa.array(multihashes_of(needs), pa.binary()))
            ]
            answers = answers_of(needs, np.concatenate(records))
            unmet[event[answers != MET]] = True

    def _check_again(self, links: pa.RecordBatch) -> list[Reason | None]:
        """Why a node could not serve each of n events of schema LINKS, each looked at alone."""
        # an event that is gone was removed since it was read, with its blocks
        reasons: list[Reason | None] = [Reason.ROOT_MISSING] * len(links)
        for raw in self._settings.fetch_events(links["cid"]):
            row = np.asarray(pc.index_in(raw["cid"], value_set=links["cid"]))
            kind = np.asarray(links["kind"])[row]
            signed = (kind == INIT) | (kind == DATA)
            failed = self._parts.alone.fail_signed(raw, np.flatnonzero(signed))
            failed |= self._parts.alone.fail_time(raw, np.flatnonzero(kind == TIME))
            for at, of_links in enumerate(row.tolist()):
                reasons[of_links] = failed.get(at)
        return reasons
