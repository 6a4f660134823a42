"""Run the command line in a process of its own, and measure its memory."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.program import ROOT

_MEASURED = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss, end="", file=open("peak", "w"))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Started by a small process: a child's peak begins with the size of the process that forked it."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    """Its exit code; a signal shows as one above 128."""
    out: str
    err: str
    peak_kib: int


def command(folder: Path, *arguments: str) -> Ended:
    """Run `ceramic-order` with `folder` as its working directory."""
    line = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "flows", *arguments]
    ended = subprocess.run(
        line,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr, int((folder / "peak").read_text()))
