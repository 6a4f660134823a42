"""How the processes of a cluster meet before anything is changed, and find out whether they fit.

They do so at the address of process 0, which Bytewax uses afterwards:

1. every other process connects, and says which number it has;
2. process 0 claims the database, and says what all must have alike (the terms);
3. the others compare that with what they have, and say what is in the way;
4. when all have agreed, each connects with those of lower numbers, as Bytewax does afterwards;
5. process 0 says whether all can go on, or whose refusal stops them.
"""

import time
from contextlib import suppress
from typing import Self

from connectors.errors import CannotStartError
from connectors.fingerprint import machine
from flows.cluster.address import reach
from flows.cluster.cluster import Cluster
from flows.cluster.line import Line, LineLostError, Message, Terms, hang_up
from flows.cluster.reach import Listener, let_higher_reach, number_of, reach_lower
from flows.jobs.invocation import Invocation

RETRY_SECONDS = 0.05
"""How often a process tries to reach process 0."""

LATE_SECONDS = 1.0
"""How long process 0 still waits for others when it has claimed the database."""

REACH_SHARE = 0.25
"""Of the time for which processes wait for each other: how long they may take to connect with those
of lower numbers. All of them are there by then."""

BOUND_SECONDS = 0.2
"""For each lower number, how long a process waits until Bytewax listens there: where it does not
listen yet, Bytewax tries again a second later."""


class Meeting:
    """Within this context a process finds out whether it can go on.

    Where it can't, the others learn why. Without other processes there is nothing to do.
    """

    def __init__(self, invocation: Invocation, seconds: float) -> None:
        """`seconds`: how long a process waits for the others."""
        self.invocation = invocation
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._lines: dict[int, Line] = {}
        self._listener: Listener | None = None
        self._machines = [machine()]
        self.shares_file = False
        """Process 0: whether another process reads the very file that it writes."""

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which writes."""
        return self.invocation.process == 0

    @property
    def processes_here(self) -> int:
        """How many processes of the cluster this machine has."""
        return self._machines.count(machine())

    def __enter__(self) -> Self:
        """Reach process 0, or be there to be reached.

        Raises:
            CannotStartError: that can't be.
        """
        if self.invocation.processes > 1:
            if self.is_first:
                self._listener = Listener(self.invocation, self._until)
            else:
                self._connect()
        return self

    def __exit__(self, _: object, error: object, __: object) -> None:
        """Say to the others what stopped this process, if something did."""
        if isinstance(error, BaseException):
            if self._listener is not None and not self._lines:
                self._until = min(self._until, time.monotonic() + LATE_SECONDS)
                with suppress(CannotStartError):
                    self._accept_all()
            if self.invocation.processes > 1:
                hang_up(self._lines.values(), self._refusal(error))
            self._close_listener()

    def lead(self, terms: Terms) -> Cluster:
        """Process 0: let the others compare these terms, and wait until all of them have.

        Raises:
            CannotStartError: one of them is not there, or can't go on.
        """
        if self.invocation.processes > 1:
            self._accept_all()
            self._all_agree(terms)
            self._all_reach_each_other()
            self._close_listener()
        return Cluster(self.invocation, self._lines)

    def terms(self) -> Terms:
        """Another process: what process 0 says that all must have alike.

        Raises:
            CannotStartError: a process can't go on.
        """
        while True:
            try:
                message = self._lines[0].receive()
            except LineLostError:
                # what forwards a port, as for a container, answers before process 0 is there
                self._lines.pop(0).close()
                time.sleep(RETRY_SECONDS)
                self._connect()
            else:
                _require_no_refusal(message)
                return message["terms"]

    def agree(self, *, is_same_file: bool) -> Cluster:
        """Another process: all terms are alike; go on if that is so in all processes.

        Raises:
            CannotStartError: a process can't go on.
        """
        invocation = self.invocation
        if invocation.process < invocation.processes - 1:
            self._listener = Listener(invocation, self._later())
        self._say({"machine": machine(), "is_same_file": is_same_file})
        self._machines = self._from_first()["machines"]
        until = self._later()
        reach_lower(invocation, until)
        if self._listener is not None:
            let_higher_reach(self._listener, invocation, until)
        self._close_listener()
        self._say({"reached": True})
        self._from_first()
        time.sleep(BOUND_SECONDS * self.invocation.process)
        return Cluster(self.invocation, self._lines)

    def _address(self, process: int) -> str:
        return self.invocation.addresses[process]

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _connect(self) -> None:
        address, why = self._address(0), ""
        while time.monotonic() < self._until:
            try:
                self._lines[0] = Line(reach(address, self._until))
            except OSError as cause:
                why = cause.strerror or str(cause)
                time.sleep(RETRY_SECONDS)
            else:
                self._say({"process": self.invocation.process})
                return
        raise CannotStartError(
            f"Process `0` is not there: for `{self._seconds:g}` seconds nobody answered at "
            f"`{address}`",
            why=why or None,
            advice=_TOGETHER,
        )

    def _say(self, message: Message) -> None:
        """Send process 0 a message; if it has ended, the next answer shows that."""
        with suppress(LineLostError):
            self._lines[0].send(message)

    def _later(self) -> float:
        return time.monotonic() + REACH_SHARE * self._seconds

    def _from_first(self) -> Message:
        """What process 0 says next.

        Raises:
            CannotStartError: it has ended, or says what stops a process.
        """
        try:
            message = self._lines[0].receive()
        except LineLostError as cause:
            raise CannotStartError(
                f"Process `0` at `{self._address(0)}` has ended before all processes were there",
                advice=_TOGETHER,
            ) from cause
        _require_no_refusal(message)
        return message

    def _accept_all(self) -> None:
        """Wait for all other processes.

        Raises:
            CannotStartError: one is not there in time, or one number is there twice.
        """
        others = range(1, self.invocation.processes)
        self._until = max(self._until, time.monotonic() + LATE_SECONDS)
        for line in self._listener.accepted(self._until) if self._listener else ():
            process = number_of(line)
            if process in self._lines:
                twice = _OthersError(
                    f"Process `{process}` was started twice",
                    advice="Give each process a number of its own (`-i`).",
                )
                hang_up([line], {"refusal": twice.parts()})
                raise twice
            if process in others:
                self._lines[process] = line
            else:
                line.close()
            if len(self._lines) == len(others):
                return
        missing = next(process for process in others if process not in self._lines)
        raise _OthersError(
            f"Process `{missing}` at `{self._address(missing)}` is not there",
            why=f"process `0` waited for `{self._seconds:g}` seconds{self._where()}",
            advice=_TOGETHER,
        )

    def _where(self) -> str:
        # the name of a machine may stand for another address on the machine itself
        return f" at `{self._listener.address()}`" if self._listener else ""

    def _all_agree(self, terms: Terms) -> None:
        """Wait until all others have compared the terms.

        Raises:
            CannotStartError: one of them can't go on.
        """
        for process, line in self._lines.items():
            with suppress(LineLostError):
                line.send({"terms": terms})
            message = self._answer(process)
            self._machines.append(message["machine"])
            self.shares_file |= message["is_same_file"]

    def _all_reach_each_other(self) -> None:
        """Wait until each process has connected with those of lower numbers.

        Raises:
            CannotStartError: one of them can't.
        """
        self._say_to_all({"machines": self._machines})
        for process in self._lines:
            self._answer(process)
        self._say_to_all({"go": True})

    def _say_to_all(self, message: Message) -> None:
        for line in self._lines.values():
            with suppress(LineLostError):
                line.send(message)

    def _answer(self, process: int) -> Message:
        """What another process says next.

        Raises:
            CannotStartError: it has ended, or can't go on.
        """
        try:
            message = self._lines[process].receive()
        except LineLostError as cause:
            raise _OthersError(
                f"Process `{process}` at `{self._address(process)}` ended before the start",
                advice=_TOGETHER,
            ) from cause
        _require_no_refusal(message)
        return message

    def _refusal(self, error: BaseException) -> Message:
        """What the others learn: an error of this process, or what it heard of another one."""
        if isinstance(error, _OthersError):
            return {"refusal": error.parts()}
        process = self.invocation.process
        refusal = _OthersError(f"Process `{process}` at `{self._address(process)}` can't start")
        if isinstance(error, CannotStartError):
            refusal = refusal.replaced(
                why=error.clause(), advice=error.advice, unchanged=error.unchanged
            )
        return {"refusal": refusal.parts()}


_TOGETHER = "Start all processes within that time, each with its number (`-i`) and all addresses."


class _OthersError(CannotStartError):
    """Another process can't go on, or is not there; all others learn the same."""


def _require_no_refusal(message: Message) -> None:
    if "refusal" in message:
        raise _OthersError(**message["refusal"])
