"""Temporary folders that go away when they are no longer needed, also when a signal ends the process."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: set[Path] = set()


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent`, or else where TMPDIR says; removed with all that is in it at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="ceramic-order-", dir=parent))
    _held.add(folder)
    try:
        yield folder
    finally:
        _remove(folder)


def remove_all() -> None:
    """Remove all of them; for who ends the process in another thread (`flows.terminal.signals`)."""
    for folder in list(_held):
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _held.discard(folder)
