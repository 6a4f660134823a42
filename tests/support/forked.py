"""Runs `ceramic-order` many times: a process that has loaded it forks for each command.

    python -m tests.support.forked

Loading takes longer than most of these commands. Each line of the input is a `Request` as JSON.
The process number of the command goes to a line of the output. After an empty line of the input,
which says that the process is being watched, and when the command has ended, its exit code, or the
signal that ended it as a negative number, goes to another.
"""

import ctypes
import json
import os
import runpy
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, NoReturn, Self, TypedDict

from tests.support.program import HANG_SECONDS, ROOT, Ended, python

BYTEWAX = "bytewax.run"
"""The runner of Bytewax, as `python -m bytewax.run`."""


class Request(TypedDict):
    """A command."""

    folder: str
    """To work in. What the command writes goes to `out` and `err` in the folder above."""
    arguments: Sequence[str]
    program: str
    """`flows`, or a module whose DEFAULTS the command line starts from; or BYTEWAX, for a flow."""
    faults: Mapping[str, str]
    """What goes wrong (tests/crash/faults.c, which must be preloaded then)."""


class Fork:
    """A command that was started; at the end of a `with` block it has ended."""

    def __init__(self, folder: Path, requests: IO[str], answers: IO[str]) -> None:
        self._above, self._answers = folder.parent, answers
        self._pidfd = os.pidfd_open(int(answers.readline()))
        requests.write("\n")
        requests.flush()

    def poll(self) -> int | None:
        """None while it runs."""
        return 0 if select.select([self._pidfd], [], [], 0)[0] else None

    def kill(self) -> None:
        """Kill it; it may have ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for its end."""
        code = int(self._answers.readline())
        os.close(self._pidfd)
        out, err = ((self._above / name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(code, out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Forks:
    """The process that forks. One command runs at a time."""

    def __init__(self, folder: Path, child: Popen[str]) -> None:
        self.folder, self._child = folder, child

    def start(
        self,
        arguments: Sequence[str],
        program: str = "flows",
        faults: Mapping[str, str] | None = None,
    ) -> Fork:
        """Start a command in the folder, without a terminal and with an empty stdin."""
        request = Request(
            folder=str(self.folder), arguments=arguments, program=program, faults=faults or {}
        )
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        return Fork(self.folder, stdin, stdout)

    def run(self, arguments: Sequence[str], program: str = "flows") -> Ended:
        """Run a command in the folder to its end."""
        return self.start(arguments, program).end()


@contextmanager
def forks(folder: Path, preloaded: Path | None = None) -> Iterator[Forks]:
    """Commands in this folder, while the block runs; the folder above is theirs too.

    `preloaded` is a library that goes between them and libc.
    """
    environment = {**os.environ, "TMPDIR": str(folder.parent), "HOME": str(folder)}
    if preloaded is not None:
        environment["LD_PRELOAD"] = str(preloaded)
    with Popen(
        python("-m", "tests.support.forked"),
        cwd=ROOT,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        text=True,
    ) as child:
        yield Forks(folder, child)
        assert child.stdin is not None
        child.stdin.close()


def _become(request: Request) -> NoReturn:
    above = Path(request["folder"]).parent
    written = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    files = ((Path(os.devnull), os.O_RDONLY), (above / "out", written), (above / "err", written))
    for descriptor, (file, how) in enumerate(files):
        os.dup2(os.open(file, how), descriptor)
    os.chdir(request["folder"])
    signal.alarm(HANG_SECONDS)
    sys.argv = ["ceramic-order", *request["arguments"]]
    program = request["program"]
    if program == BYTEWAX:
        # loaded by our flows, which run_module would warn of
        sys.modules.pop(BYTEWAX, None)
        runpy.run_module(BYTEWAX, run_name="__main__", alter_sys=True)
        sys.exit()
    defaults = None if program == "flows" else import_module(program).DEFAULTS
    if request["faults"]:
        os.environ.update(request["faults"])
        ctypes.CDLL(None).begin_faults()
    import_module("flows.cli.main").main(defaults)
    raise AssertionError("the command line never returns")


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _serve() -> None:
    # signals first, as the program does; all before the first fork
    import_module("flows.terminal.signals")
    main = import_module("flows.cli.main")
    os.environ.update(main.LIBRARIES)
    for name in main.COMMANDS:
        import_module(f"flows.cli.{name}")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _say(child)
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        _say(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _serve()
