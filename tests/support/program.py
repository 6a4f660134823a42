"""The one way in which tests start programs: `ceramic-order` as a user does, and any other."""

import json
import os
import pty
import re
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from signal import SIGKILL
from struct import pack
from subprocess import PIPE, Popen
from termios import TIOCSWINSZ
from typing import Any

ROOT = Path(__file__).parents[2]
"""The checkout."""
HANG_SECONDS = 120
"""Seconds after which a program counts as hanging: longer than any takes on a busy machine."""
KEPT = re.compile(r"`(\d+)` events? in `(\d+)` whole batch(?:es)? (?:is|are) delivered")

_MEASURED = """
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process between the test and the program: the kernel counts a child's peak from the size
of the process that forked it."""

Argument = str | int | Path
Environment = Mapping[str, str | None]
"""Variables that are set for a program; None: unset."""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    """Its exit code; negative: the signal that killed it."""
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What it printed under `--json`: one document and nothing else."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    def kept(self) -> int | None:
        """How many events it says are delivered and kept; None: it does not say."""
        found = KEPT.search(self.err)
        return int(found[1]) if found else None


def python(*arguments: Argument) -> list[str]:
    """The command line of a program of this environment's interpreter."""
    return [sys.executable, *map(str, arguments)]


def ceramic_order(*arguments: Argument, module: str = "flows") -> list[str]:
    """The command line of `ceramic-order`."""
    return python("-m", module, *arguments)


def start(
    command: Sequence[Argument],
    *,
    environment: Environment | None = None,
    cwd: Path = ROOT,
    limits: Mapping[int, int] | None = None,
    stdout: int = PIPE,
    stderr: int = PIPE,
) -> Popen[str]:
    """Start a program and leave it running; whoever calls this also ends it.

    Args:
        command: the program and its arguments.
        environment: variables in addition to those of the tests.
        cwd: its working directory.
        limits: by `resource.RLIMIT_...` the most it may use.
        stdout: a descriptor instead of a pipe.
        stderr: a descriptor instead of a pipe.
    """
    variables = {**os.environ, **(environment or {})}
    return Popen(
        [str(argument) for argument in command],
        cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        # no thread of ours runs in the child yet
        preexec_fn=(lambda: _limit(limits)) if limits else None,  # noqa: PLW1509
        stdin=PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def _limit(limits: Mapping[int, int]) -> None:
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def end(
    child: Popen[str], *, given: str = "", seconds: float = HANG_SECONDS, traceback: bool = False
) -> Ended:
    """Wait for the end of a program.

    Args:
        child: the program.
        given: what it reads on its stdin.
        seconds: after this time it counts as hanging.
        traceback: it may show one; `ceramic-order` never does.
    """
    try:
        out, err = child.communicate(given or None, timeout=seconds)
    except BaseException:
        kill(child)
        raise
    assert traceback or "Traceback" not in (err or ""), err
    return Ended(child.returncode, out or "", err or "")


def kill(child: Popen[str]) -> None:
    """End a program that may still be running."""
    child.kill()
    with suppress(ValueError):  # its streams may be closed already
        child.communicate()


def run(
    command: Sequence[Argument],
    *,
    code: int | None = 0,
    environment: Environment | None = None,
    cwd: Path = ROOT,
    limits: Mapping[int, int] | None = None,
    given: str = "",
    seconds: float = HANG_SECONDS,
    traceback: bool = False,
) -> Ended:
    """Run a program to its end, which must be this exit code; None: any."""
    child = start(command, environment=environment, cwd=cwd, limits=limits)
    ended = end(child, given=given, seconds=seconds, traceback=traceback)
    assert code is None or ended.code == code, ended
    return ended


def can(*command: Argument) -> bool:
    """Whether this machine has such a program, and lets this user run it; else tests skip."""
    try:
        return run(command, code=None, traceback=True).code == 0
    except OSError:
        return False


def run_measured(
    command: Sequence[Argument], *, code: int | None = 0, cwd: Path = ROOT
) -> tuple[Ended, int]:
    """Run a program to its end; in addition its peak of resident memory in KiB."""
    with tempfile.NamedTemporaryFile() as peak:
        ended = run(python("-c", _MEASURED, peak.name, *command), code=code, cwd=cwd)
        return ended, int(Path(peak.name).read_text())


@contextmanager
def started(
    command: Sequence[Argument],
    *,
    environment: Environment | None = None,
    cwd: Path = ROOT,
    limits: Mapping[int, int] | None = None,
) -> Iterator[Popen[str]]:
    """A program that runs during the block and is killed at its end, if it still runs then."""
    child = start(command, environment=environment, cwd=cwd, limits=limits)
    try:
        yield child
    finally:
        kill(child)


@contextmanager
def ready(command: Sequence[Argument]) -> Iterator[Popen[str]]:
    """A program that has printed its first line.

    At the end of the block its stdin is closed, and it must then end by itself with exit code 0,
    unless the block has killed it.
    """
    with started(command) as child:
        line = read_line(child)
        assert line, end(child, traceback=True)
        yield child
        ended = end(child)
        assert ended.code in {0, -SIGKILL}, ended


def read_line(child: Popen[str]) -> str:
    """Wait for the next line that a program prints, without its end; empty: it prints no more."""
    assert child.stdout is not None
    return child.stdout.readline().rstrip("\n")


def write_line(child: Popen[str], line: str = "") -> None:
    """Give a program a line on its stdin."""
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


class Terminal:
    """A terminal of so many columns, and all that is written to it."""

    def __init__(self, columns: int) -> None:
        self._ours, self.theirs = pty.openpty()
        ioctl(self.theirs, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))

    def read(self, child: Popen[str]) -> str:
        """Wait for the end of a program and return what it wrote."""
        os.close(self.theirs)
        written = b""
        with suppress(OSError):  # the end of a terminal
            while some := os.read(self._ours, 4096):
                written += some
        os.close(self._ours)
        child.wait(HANG_SECONDS)
        return written.decode()
