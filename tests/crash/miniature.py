"""The command line with all thresholds scaled down, for a small database.

A run then goes all the ways of a large one: it reads many pages, settles many times, puts waiting
and ordered events into files, writes many batches, and checkpoints the WAL midway: after each batch
whose rows lie close together, and whenever the WAL has grown.
"""

from connectors.page_sizes import PageSizes
from connectors.sink import SinkSettings
from flows.cli.main import main
from flows.jobs.options import RunOptions
from flows.memory import Memory
from operators.order import OrderSettings

PAGE_ROWS = 32

DEFAULTS = RunOptions(
    pages=PageSizes(run_rows=PAGE_ROWS, looked_up_rows=PAGE_ROWS),
    shares=Memory(10**9, check=10**6, sink=4_000, order=16_000),
    order=OrderSettings(settle_rows=2, recent_rows=16),
    sink=SinkSettings(run_rows=50, dense_rows=20, checkpoint_pages=100, cache_kib=100),
)
"""Thresholds that are some hundred to some thousand times larger in earnest."""

if __name__ == "__main__":
    main(DEFAULTS)
