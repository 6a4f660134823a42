"""A checkout in which make finds everything installed, and nothing with which to install."""

import shutil
import sys
from pathlib import Path

from tests.support.program import ROOT

FILES = ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt")


def installed_checkout(folder: Path) -> Path:
    """Make one in `folder`, with the program of this environment."""
    for name in ("connectors", "operators", "flows"):
        (folder / name).symlink_to(ROOT / name)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "ceramic-order").symlink_to(
        Path(sys.executable).parent / "ceramic-order"
    )
    (environment / "pyvenv.cfg").write_text(f"command = python -m venv {environment}")
    for made in ("created", "installed"):
        (environment / made).touch()
    return folder
