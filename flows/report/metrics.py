"""The counts of a run for Prometheus, over HTTP, while it lasts."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.errors import CannotStartError
from connectors.run_state import RunState
from connectors.scratch import held_bytes
from flows.report.profile import Profile
from operators.schemas import WAITING, Reason

LOOPBACK = "127.0.0.1"
"""The address where it listens if none is given: only programs of this machine reach it."""

PREFIX = "ceramic_order_"
"""How the name of every metric starts."""


class RunMetrics(Collector):
    """What is known of a run at the moment when somebody asks."""

    def __init__(self, database: Path, profile: Profile) -> None:
        self._wal = Path(f"{database.resolve()}-wal")
        self._profile = profile
        self.run_state = RunState()
        """The state of the run, once it has started."""

    def collect(self) -> Iterable[Metric]:
        """All metrics; the counters start at 0 with the process."""
        state, (reasons, findings) = self.run_state, self.run_state.left()
        pending = state.discovered - state.delivered - state.gone - sum(reasons.values())
        yield _counter("read_events", "Undelivered events that were read", state.discovered)
        yield _counter("delivered_events", "Events whose number is committed", state.delivered)
        yield _counter("batches", "Transactions that wrote them", state.batches)
        yield _gauge("lag_rows", "Undelivered events not read yet", state.lag_rows)
        yield _gauge("pending_events", "Events read, neither delivered nor left", pending)
        yield _gauge("last_number", "The highest number given; 0: none", state.last_number or 0)
        yield _gauge("wal_bytes", "Size of the database's WAL", _size(self._wal))
        yield _gauge("spilled_bytes", "Size of the files for what is not in memory", held_bytes())
        waiting = GaugeMetricFamily(
            f"{PREFIX}waiting_events", "Events left, for another event", labels=["reason"]
        )
        rejected = CounterMetricFamily(
            f"{PREFIX}rejected_events", "Events left, because of themselves", labels=["reason"]
        )
        # a counter that first appears with its value does not rise
        for reason in Reason:
            if reason in WAITING:
                waiting.add_metric([reason], reasons.get(reason, 0))
            else:
                rejected.add_metric([reason], findings.get(reason, 0))
        stages = CounterMetricFamily(
            f"{PREFIX}stage_seconds", "Seconds of all threads, by stage", labels=["stage"]
        )
        for name, seconds in self._profile.stage_seconds().items():
            stages.add_metric([name], seconds)
        yield from (waiting, rejected, stages)

    @contextmanager
    def watch(self, run_state: RunState) -> Iterator[None]:
        """Show the counts of this run from now on, also after the block has ended."""
        self.run_state = run_state
        yield


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}{name}", text, value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value)


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def listening_address(text: str) -> tuple[str, int]:
    """The address and the port that `[ADDRESS:]PORT` means.

    Raises:
        ValueError: it means none.
    """
    address, _, port = text.rpartition(":")
    # 65535 is the highest port
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):  # noqa: PLR2004
        raise ValueError(f"`{text}` is not [ADDRESS:]PORT with a port from 1 to 65535")
    return address.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)


@contextmanager
def serving(address: tuple[str, int], metrics: RunMetrics) -> Iterator[None]:
    """Answer under `/metrics` while the block runs.

    Raises:
        CannotStartError: the port is in use, or the address is none of this machine.
    """
    host, port = address
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as cause:
        is_busy = cause.errno == errno.EADDRINUSE
        raise CannotStartError(
            f"Can't serve metrics on `{host}`, port `{port}`",
            why=os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause),
            advice="Name another port." if is_busy else "Name another address or port.",
        ) from cause
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
