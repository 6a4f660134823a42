"""What a flow reads from one database, put together in one place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.run_state import RunState
from connectors.source import PARTITIONS, UndeliveredSource
from connectors.sqlite import connect
from flows.lookups import LookUps


class Inputs:
    """The undelivered events of a database, and what the steps look up beside them.

    Everything that reads does so through `connect`. With `check_node` the source also reads what
    the check needs: whether a node could serve an event.
    """

    def __init__(
        self,
        path: Path,
        run_state: RunState | None = None,
        *,
        connect: Callable[[Path], Any] = connect,
        partitions: int = PARTITIONS,
        check_node: bool = True,
    ) -> None:
        self.run_state = run_state or RunState()
        self.source = UndeliveredSource(
            path, self.run_state, partitions, connect, event_blocks=check_node
        )
        self.look_ups = LookUps(
            path, connect, check_node=check_node, measure=self.run_state.measure
        )

    def close(self) -> None:
        """Close what the look-ups opened; the source closes its own."""
        self.look_ups.close()
