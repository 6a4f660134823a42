"""Runs `ceramic-order` many times: a process that has loaded it forks for each command.

    python -m tests.support.forked

Each line of the input is a JSON list: a folder to work in, and the arguments. What the command
writes goes to `out` and `err` in the folder above, its exit code, or the signal that ended it as a
negative number, to a line of the output.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NoReturn

from tests.support.program import ROOT, Ended, python

SECONDS = 60
"""Seconds after which a command counts as hanging, and is ended by SIGALRM."""


class Forks:
    """The process that forks; `run` runs one command."""

    def __init__(self, folder: Path, child: Popen[str]) -> None:
        self.folder, self._child = folder, child

    def run(self, arguments: Sequence[str]) -> Ended:
        """Run a command in the folder to its end, without a terminal and with an empty stdin."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([str(self.folder), *arguments]) + "\n")
        stdin.flush()
        code = int(stdout.readline())
        out, err = (
            (self.folder.parent / name).read_text(errors="replace") for name in ("out", "err")
        )
        return Ended(code, out, err)


@contextmanager
def forks(folder: Path) -> Iterator[Forks]:
    """Commands in this folder, while the block runs; the folder above is theirs too."""
    environment = {**os.environ, "TMPDIR": str(folder.parent), "HOME": str(folder)}
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


def _fork(folder: str, arguments: Sequence[str]) -> int:
    child = os.fork()
    if child == 0:
        _become(folder, arguments)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _become(folder: str, arguments: Sequence[str]) -> NoReturn:
    above = Path(folder).parent
    written = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    files = ((Path(os.devnull), os.O_RDONLY), (above / "out", written), (above / "err", written))
    for descriptor, (file, how) in enumerate(files):
        os.dup2(os.open(file, how), descriptor)
    os.chdir(folder)
    signal.alarm(SECONDS)
    sys.argv = ["ceramic-order", *arguments]
    import_module("flows.cli.main").main()
    raise AssertionError("the command line never returns")


def _serve() -> None:
    # signals first, as the program does; all before the first fork
    import_module("flows.terminal.signals")
    main = import_module("flows.cli.main")
    os.environ.update(main.LIBRARIES)
    for name in main.COMMANDS:
        import_module(f"flows.cli.{name}")
    for line in sys.stdin:
        folder, *arguments = json.loads(line)
        sys.stdout.write(f"{_fork(folder, arguments)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
