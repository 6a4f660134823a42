"""How a flow is run: the options of the command line, and what tests have smaller."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from connectors.claim import ClaimSettings
from connectors.page_sizes import PageSizes
from connectors.run_state import RunState
from connectors.sink import SinkSettings
from connectors.source import PARTITIONS
from flows.jobs.plan import PlanSettings
from flows.memory import Memory, default_limit, share_out
from operators.order import OrderSettings
from operators.schemas import Measure, unmeasured


@dataclass(frozen=True)
class RunOptions:
    """How a flow is run; the defaults are those of the command line."""

    partitions: int = PARTITIONS
    batch_rows: int | None = None
    """Events of one transaction, or of one row group of a log, at most; None: the default."""
    memory_limit: int | None = None
    """Bytes of memory; None: the default of `flows.memory`."""
    check_node: bool = True
    """Deliver only what a node could serve; else whatever has readable links."""
    durable: bool = False
    """Sync the disk at every commit."""
    report: Path | None = None
    measure: Measure = unmeasured
    """Measures where the time goes, as `flows.report.profile.Profile` does."""
    quiet: bool = True
    watch: Callable[[RunState], AbstractContextManager[object]] = nullcontext
    """A context that is open while the flow runs, as `flows.report.throughput.sampled`."""
    claim: ClaimSettings = field(default_factory=ClaimSettings)
    pages: PageSizes = field(default_factory=PageSizes)
    order: OrderSettings = field(default_factory=OrderSettings)
    sink: SinkSettings = field(default_factory=SinkSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)

    shares: Memory | None = None
    """How the memory is shared out; None: as the limit asks for."""

    @cached_property
    def memory(self) -> Memory:
        """What each part of the run may take."""
        return self.shares or share_out(self.memory_limit or default_limit())
