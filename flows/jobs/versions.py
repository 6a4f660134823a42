"""The versions of this program and of everything that its results could depend on."""

import platform
import re
from importlib import metadata


def versions(sqlite: str | None = None) -> dict[str, str]:
    """Versions by name; that of SQLite is read from its driver where it is not given."""
    if sqlite is None:
        from connectors.sqlite import sqlite_version  # noqa: PLC0415 # loads the driver

        sqlite = sqlite_version()
    needed = metadata.requires("ceramic-order") or []
    names = ["ceramic-order", *(re.split("[^A-Za-z0-9-]", name)[0] for name in needed)]
    return {
        "python": platform.python_version(),
        "sqlite": sqlite,
        **{name: metadata.version(name) for name in names},
    }
