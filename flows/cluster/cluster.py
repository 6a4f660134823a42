"""What the processes of a running cluster know of each other: who has ended, and how."""

from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread

from connectors.errors import CeramicOrderError, InterruptedRunError
from flows.cluster.line import Line, LineLostError, Message, hang_up
from flows.jobs.invocation import Invocation

ANEW = "Start all processes again: they finish the job."

BLAME_SECONDS = 2.0
"""How long a process that fails because another one has ended may learn of it later than Bytewax
does."""


class Cluster:
    """The lines to the other processes: process 0 has one to each, each of the others one to it.

    They are open until the end, so each process learns at once when another one ends, however that
    happens.
    """

    def __init__(self, invocation: Invocation, lines: dict[int, Line]) -> None:
        self.invocation = invocation
        self._lines = lines
        self._news = Condition()
        self._ended: dict[int, Message] = {}
        """What each other process said when it came to its end."""
        self._cause: CeramicOrderError | None = None
        """Why the cluster can't go on, if another process is to blame."""

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which writes."""
        return self.invocation.process == 0

    @property
    def has_others(self) -> bool:
        """Whether there are other processes at all."""
        return bool(self._lines)

    def watch(self, stop: Callable[[CeramicOrderError], None]) -> None:
        """Listen to the others from now on; `stop` is called when one of them fails or is gone."""
        for process, line in self._lines.items():
            arguments = (process, line, stop)
            Thread(target=self._listen, args=arguments, name="cluster", daemon=True).start()

    def _listen(self, process: int, line: Line, stop: Callable[[CeramicOrderError], None]) -> None:
        try:
            message = line.receive()
        except LineLostError:
            what = f"Process `{process}` at `{self._address(process)}` is gone"
            why = "it was killed, or its machine or the network failed"
            gone = InterruptedRunError(what, why=why, advice=ANEW)
            message = {"failed": gone.parts()}
        # a process may find that it can't start when all have met
        failed = message.get("failed") or message.get("refusal")
        with self._news:
            if failed is None:
                # the process may end from now on
                self._ended[process] = message
            elif self._cause is None:
                self._cause = InterruptedRunError(**failed)
            self._news.notify_all()
        if self._cause is not None:
            stop(self._cause)

    def wait_for_ends(self) -> list[Message]:
        """Wait until all others have come to their end; what each said.

        Raises:
            InterruptedRunError: one of them fails, or is gone.
        """
        with self._news:
            self._news.wait_for(
                lambda: self._cause is not None or self._ended.keys() == self._lines.keys()
            )
            if self._cause is not None:
                raise self._cause
            return list(self._ended.values())

    def cause(self) -> CeramicOrderError | None:
        """Why the cluster can't go on, if another process is to blame; it may take a moment."""
        with self._news:
            self._news.wait_for(
                lambda: self._cause is not None, BLAME_SECONDS if self._lines else 0
            )
            return self._cause

    def end(self, message: Message) -> None:
        """Say to the others that this process has come to its end."""
        for line in self._lines.values():
            with suppress(LineLostError):
                line.send(message)

    def close(self) -> None:
        """Hang up, when all have come to their end."""
        for line in self._lines.values():
            line.close()

    def fail(self, error: CeramicOrderError) -> None:
        """Say to the others what stopped this process, or what it heard of another one."""
        if not self._lines:
            return
        process = self.invocation.process
        failed = self._cause or InterruptedRunError(
            f"Process `{process}` at `{self._address(process)}` stopped",
            why=error.clause(),
            advice=" ".join(filter(None, (error.advice, ANEW if error.retry else None))),
        )
        hang_up(self._lines.values(), {"failed": failed.parts()})

    def _address(self, process: int) -> str:
        return self.invocation.addresses[process]
