"""Whether some process has a database open: seen by its locks, and without leaving a trace."""

import subprocess
import sys
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.mounts import on_file_system


def lock_state(path: Path) -> tuple[str, str]:
    """Whether a database is open (`free`, `in use`, `closed`), and its journal mode.

    `connectors.lock_probe` says what the words mean. Connections of this process count too.

    Raises:
        CannotStartError: the file can't be opened for reading, or its file system has no locks.
    """
    probe = Path(__file__).with_name("lock_probe.py")
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(probe), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise CannotStartError(
            f"Can't read `{path}`",
            why=f"{answer.stderr.strip()}{on_file_system(path)}",
            advice="Check its permissions and its disk.",
        )
    state, mode = answer.stdout.split(", ")
    return state, mode
