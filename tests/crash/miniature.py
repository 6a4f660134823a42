"""The command line with all thresholds scaled down, so that a small database takes every way that one of millions of events takes.

A run then reads many pages, settles many times, writes many batches, and takes its write-ahead log
into the database midway: after each batch whose rows lie close together, and whenever the log has
grown.
"""

from types import ModuleType

from connectors import sink, source
from flows.__main__ import main
from operators import order

THRESHOLDS: tuple[tuple[ModuleType, str, int], ...] = (
    (source, "RUN_ROWS", 32),
    (source, "LOOKED_UP_ROWS", 32),
    (order, "SETTLE_ROWS", 2),
    (sink, "DENSE_ROWS", 20),
    (sink, "CHECKPOINT_PAGES", 100),
    (sink, "CACHE_KIB", 100),
)
"""Constants and their values here, all of them some hundred to some thousand times larger in
earnest."""

if __name__ == "__main__":
    for module, name, value in THRESHOLDS:
        if value >= getattr(module, name):
            raise ValueError(f"`{name}` is no threshold to scale down")
        setattr(module, name, value)
    main()
