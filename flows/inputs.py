"""What a flow reads from one database, put together in one place."""

from collections.abc import Callable
from pathlib import Path

from connectors.page_sizes import PageSizes
from connectors.run_state import RunState
from connectors.source import PARTITIONS, UndeliveredSource
from connectors.sqlite import Connection, connect
from flows.lookups import LookUps, LookUpSettings


class Inputs:
    """The undelivered events of a database, and what the steps look up apart from them.

    Everything that reads does so through `connect`. With `check_node` the source also reads what
    the check needs: whether a node could serve an event. `source` reads instead of the usual one.
    """

    def __init__(
        self,
        path: Path,
        run_state: RunState | None = None,
        *,
        connect: Callable[[Path], Connection] = connect,
        partitions: int = PARTITIONS,
        check_node: bool = True,
        settings: LookUpSettings = LookUpSettings(),  # noqa: B008 # frozen
        sizes: PageSizes = PageSizes(),  # noqa: B008 # frozen
        source: UndeliveredSource | None = None,
    ) -> None:
        self.run_state = run_state or RunState()
        self.source = source or UndeliveredSource(
            path,
            self.run_state,
            partitions,
            connect,
            event_blocks=check_node,
            sizes=sizes,
        )
        self.look_ups = LookUps(
            path,
            connect,
            check_node=check_node,
            measure=self.run_state.measure,
            settings=settings,
            found_wrong=lambda cids: self.run_state.add_wrong_notes(cids.to_pylist()),
            counted_hidden=self.run_state.set_hidden,
            read_to=self.run_state.read_to,
        )

    def close(self) -> None:
        """Close what the look-ups opened; the source closes its own."""
        self.look_ups.close()
