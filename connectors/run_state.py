"""The counts of one run in one process, for its progress display and its summary."""

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

from operators.schemas import Measure, unmeasured


@dataclass
class RunState:
    """What a run has done so far. The steps of all worker threads add to it; anybody may read it at any time."""

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
    partitions_read: int = 0
    """Partitions of the source that were read to their end."""
    failure: BaseException | None = None
    """What stopped the run, as first seen: Bytewax does not always pass it on whole."""
    measure: Measure = unmeasured
    """Measures where the time goes, if anybody wants to know."""
    writing: Lock = field(default_factory=Lock, repr=False)
    """Held while a batch is written: who holds it and ends the process cuts no batch short."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add_discovered(self, events: int) -> None:
        """Count events that were read."""
        with self._lock:
            self.discovered += events

    def end_partition(self) -> None:
        """Count a partition that was read to its end."""
        with self._lock:
            self.partitions_read += 1

    def add_batch(self, events: int, inits: int, first_number: int | None = None) -> None:
        """Count one committed batch; its numbers are dense from `first_number` on (None in a dry run, which writes none)."""
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

    def fail(self, cause: BaseException) -> None:
        """Note what stopped the run, unless something did before."""
        with self._lock:
            self.failure = self.failure or cause
