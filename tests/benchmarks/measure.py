"""Measures one run of a command: its time and the most anonymous memory it held."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.01
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """One run of `ceramic-order`."""

    document: dict[str, Any]
    """What it printed under `--json`."""
    process_seconds: float
    """From start to exit, the interpreter's start included."""
    anonymous_bytes: int
    """The peak of `RssAnon`: memory that is not a page of a file."""


def fresh_copy(original: Path, folder: Path, name: str = "work.db") -> Path:
    """A copy without `-wal`, on disk before the clock starts: else its write-back would be paid by whoever syncs next."""
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
    copy = Path(shutil.copyfile(original, folder / name))
    os.sync()
    return copy


def ceramic_order(*arguments: str) -> Measured:
    """Run the command line in a process of its own; it must succeed."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows", *arguments, "--json", "--quiet"]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, _anonymous_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` exited {process.returncode}")
    return Measured(json.loads(printed), seconds, peak)


def write_alone(path: Path, ordered: Path) -> float:
    """Seconds of writing into `path` the numbers of `ordered` and nothing else, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.write_alone", str(path), str(ordered)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _anonymous_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)
