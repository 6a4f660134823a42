"""Paths as they are: the one place that hands files and folders to Arrow, DuckDB and the disk.

Arrow and DuckDB read more into a path than its characters: DuckDB takes `*` and `[` for patterns
and a folder `name=value` for a column, Arrow takes `a:b` for a URI, and neither takes bytes that
are no UTF-8.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_DESCRIPTORS = Path("/proc/self/fd")
"""Where Linux names the open files of a process."""


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, and not only in memory.

    Raises:
        OSError: the disk is full or fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        # what a file system says that can't do this for folders
        if cause.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def plain_folder(folder: Path) -> Iterator[str]:
    """A name of this folder that is letters, digits and slashes only; it holds during the block.

    Raises:
        OSError: there is no such folder, or it can't be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        plain = _DESCRIPTORS / str(descriptor)
        # without /proc (in some chroots) only paths without special characters work
        yield str(plain if plain.exists() else folder.resolve())
    finally:
        os.close(descriptor)


class ParquetWriter(pq.ParquetWriter):  # type: ignore[misc] # Arrow ships no types
    """Writes a Parquet file at exactly this path."""

    def __init__(self, path: Path, schema: pa.Schema, **options: Any) -> None:  # Arrow's
        """Make the file, or empty it.

        Raises:
            OSError: it can't be opened for writing.
        """
        self._output = path.open("wb")
        super().__init__(self._output, schema, **options)

    def close(self) -> None:
        """Write what ends a Parquet file, and close it; safe to call twice."""
        try:
            super().close()
        finally:
            self._output.close()
