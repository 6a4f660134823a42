"""How far a command is and what it has counted, for its progress display and its summary."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import NamedTuple

from operators.schemas import Measure, Measured, unmeasured

READING, ORDERING, WRITING, CHECKPOINT = "reading", "ordering", "writing", "checkpoint"
"""The phases of a run, in their order."""


END = 2**63 - 1
"""The largest rowid that there is."""

WRONG_NOTES = 10_000
"""The most events with a wrong note that are counted: 1 MB of CIDs."""


class Phase(NamedTuple):
    """How far one part of the work is."""

    name: str | None
    """None: nothing has started yet."""
    done: int
    total: int | None
    """None: nobody knows."""
    seconds: float
    """Since its start."""


@dataclass
class Phases:
    """How far a command is. Any thread may add to it, and read it at any time."""

    phase: str | None = None
    """What is being done; None: nothing has started yet."""
    phase_done: int = 0
    phase_total: int | None = None
    """How much there is to do in this phase; None: nobody knows."""
    _phase_started: float = field(default_factory=time.monotonic, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def start_phase(self, name: str, total: int | None = None) -> None:
        """Start the next part of the work, in which `total` things are to be done."""
        with self._lock:
            self._start(name, total)

    def _start(self, name: str, total: int | None) -> None:
        self.phase, self.phase_done, self.phase_total = name, 0, total
        self._phase_started = time.monotonic()

    def advance(self, done: int) -> None:
        """Note that `done` more things of this phase are done."""
        with self._lock:
            self.phase_done += done

    def reach(self, name: str, done: int, total: int | None) -> None:
        """Set how much of a phase is done in total; the first call with its name starts it."""
        if name != self.phase:
            self.start_phase(name, total)
        with self._lock:
            self.phase_done, self.phase_total = done, total

    def current(self) -> Phase:
        """The phase of this moment."""
        with self._lock:
            seconds = time.monotonic() - self._phase_started
            return Phase(self.phase, self.phase_done, self.phase_total, seconds)


@dataclass
class RunState(Phases):
    """What a run has done so far in one process. The steps of all worker threads add to it."""

    found: int = 0
    """Undelivered events that are known to be there, read or not yet."""
    discovered: int = 0
    """Undelivered events that were read."""
    delivered: int = 0
    """Events whose number is written and committed (in a dry run: would be)."""
    inits: int = 0
    """Init events among the delivered; a node should have stored them as delivered."""
    batches: int = 0
    """Transactions that wrote them."""
    first_number: int | None = None
    last_number: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    """Events that were left, by reason."""
    findings: Counter[str] = field(default_factory=Counter)
    """The same, but an event that is checked again counts again, and one that is delivered later
    stays."""
    gone: int = 0
    """Events that were left, and that another program deleted or delivered afterwards."""
    partitions_read: int = 0
    """Partitions of the source that were read to their end."""
    _reached: dict[str, int] = field(default_factory=dict, repr=False)
    """The rowid up to which each partition was read."""
    wal_bytes: int = 0
    """Bytes that stay in the WAL, because a reader keeps them from a checkpoint."""
    wrong_notes: set[bytes] = field(default_factory=set)
    """CIDs of events whose `init_cid` names another stream than their blocks do, as far as the run
    had to look, and WRONG_NOTES at most."""
    hidden: int | None = None
    """Undelivered events that the index on `delivered` did not show; None: nobody has looked."""
    failure: BaseException | None = None
    """What stopped the run, as first seen: Bytewax does not always pass it on whole."""
    measure: Measure = unmeasured
    """Measures where the time goes, if anybody wants to know."""
    writing: Lock = field(default_factory=Lock, repr=False)
    """Held while a batch is written, so that a signal handler that acquires it never interrupts
    one."""

    def add_discovered(self, events: int) -> None:
        """Count events that were read."""
        with self._lock:
            self.discovered += events
            if self.phase == READING:
                self.phase_done += events
                if self.phase_done >= (self.phase_total or 0):
                    self._start(ORDERING, None)

    def start_writing(self, events: int) -> None:
        """Note that a batch of `events` is about to be written.

        The phase stays `reading` while other events are still being read.
        """
        if self.phase != READING:
            self.start_phase(WRITING, events)

    def advance_writing(self, events: int) -> None:
        """Note that `events` more are written, though not committed yet."""
        if self.phase == WRITING:
            self.advance(events)

    def reach_rowid(self, partition: str, rowid: int) -> None:
        """Note that a partition of the source has read all its events up to this rowid."""
        with self._lock:
            self._reached[partition] = rowid

    def end_partition(self, partition: str) -> None:
        """Count a partition that was read to its end."""
        with self._lock:
            self._reached[partition] = END
            self.partitions_read += 1

    def read_to(self) -> int | None:
        """The rowid up to which all events were read; END: all were. None: nothing is read here."""
        with self._lock:
            return min(self._reached.values(), default=None)

    def add_batch(self, events: int, inits: int, first_number: int | None = None) -> None:
        """Count one committed batch.

        Its numbers are dense from `first_number` on; None: of a dry run, which writes none.
        """
        with self._lock:
            self.delivered += events
            self.inits += inits
            self.batches += 1
            if first_number is not None:
                self.first_number = first_number if self.first_number is None else self.first_number
                self.last_number = first_number + events - 1

    def add_left(self, reasons: Counter[str]) -> None:
        """Count events that were left undelivered."""
        with self._lock:
            self.reasons.update(reasons)
            self.findings.update(reasons)

    def forget_left(self) -> None:
        """Start counting anew at the delivered events, after another program changed some."""
        with self._lock:
            self.discovered, self.reasons, self.failure = self.delivered, Counter(), None

    def add_round(self, other: "RunState", again: int, gone: int, left: Counter[str]) -> None:
        """Add what another flow has done, which read some events again.

        Args:
            other: the state of that flow.
            again: how many of the events that it was given had been left before.
            gone: how many of these it did not find.
            left: all events that are left now, by reason.
        """
        with self._lock:
            self.discovered += other.discovered - again + gone
            self.gone += gone
            self.inits += other.inits
            self.delivered += other.delivered
            self.batches += other.batches
            if self.first_number is None:
                self.first_number = other.first_number
            self.last_number = other.last_number or self.last_number
            self.findings.update(other.findings)
            self.reasons = left
            self.found = self.discovered
        self.add_wrong_notes(other.wrong_notes)

    def add_found(self, events: int) -> None:
        """Count undelivered events that nobody has read yet."""
        with self._lock:
            self.found += events

    @property
    def lag_rows(self) -> int:
        """Undelivered events that are known to be there and were not read yet."""
        return max(0, self.found - self.discovered)

    def add_wrong_notes(self, cids: Iterable[bytes]) -> None:
        """Note events whose stream the node noted wrongly."""
        with self._lock:
            room = WRONG_NOTES - len(self.wrong_notes)
            self.wrong_notes.update(islice(cids, room))

    def set_hidden(self, events: int) -> None:
        """Note how many undelivered events the index does not show."""
        self.hidden = events

    def left(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many events are left, by reason, and how often that was found."""
        with self._lock:
            return dict(self.reasons), dict(self.findings)

    @contextmanager
    def measured(self, stage: str, rows: int) -> Iterator[Measured]:
        """`measure` a stage, and note what stops it."""
        try:
            with self.measure(stage, rows) as measured:
                yield measured
        except BaseException as cause:
            self.fail(cause)
            raise

    def fail(self, cause: BaseException) -> None:
        """Note what stopped the run, unless something did before."""
        with self._lock:
            self.failure = self.failure or cause
