"""How much the source reads at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageSizes:
    """Rows and bytes that are read at a time, which bound the memory of a partition.

    A partition holds a window, the page that it makes of it, and the page that waits for the flow.
    """

    run_rows: int = 8192
    """Consecutive rowids that are dealt to one partition, and events of a page at most: about 6 MB
    and 20 ms of reading. Single rowids dealt out modulo N make each of N partitions touch every
    page of the tables (36 % more time with 4); runs half as long cost 10 % more, for the calls that
    each page costs."""

    looked_up_rows: int = 1024
    """The most events of a page whose blocks are looked up one by one. Runs with fewer events are
    combined to pages of so many."""

    page_bytes: int = 8 * 2**20
    """Bytes of the root and payload blocks of a page, each counted as often as an event names it,
    and about those of its event blocks. A larger event has a page to itself."""

    window_bytes: int = 32 * 2**20
    """Bytes of a window: what is stored among the blocks of some events and is read with them."""

    window_slack: int = 64
    """Rows read before and after a window: a payload may have been stored before its root."""

    window_rows_an_event: int = 16
    """Rows of a window for each of its events at most. A row of a window costs 0.3 us, a block
    found by its index 1.5 to 5 us; a signed event needs two or three, and a time event whose tree
    anchors no other event here a dozen."""

    part_rows: int = 4096
    """Rows of a window that are read in one call: at most 32 MB. Between two calls the thread that
    reads waits up to half a millisecond for the interpreter."""

    large_bytes: int = 8192
    """Bytes of a block in a window at most. A larger one is left out, and read only where an event
    of the page names it."""

    other_block_bytes: int = 1024
    """Bytes of a block that goes with a page for the check, at most; a capability has about 700, a
    proof less than 200."""

    event_block_rows_an_event: int = 24
    """Event blocks that are read in one range scan, for each of its events at most. A row of the
    scan costs 0.2 us, an event found by the index 3 us. A signed event has two or three, a time
    event some ten more."""
