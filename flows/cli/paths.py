"""Arguments and options that name files and folders: any name that the system can have."""

import errno
import os
from pathlib import Path

import click

_NO_NAMES = {errno.ENAMETOOLONG, errno.ELOOP}
"""What the system answers for a name that no file can have."""


class _Path(click.Path):
    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        # what can be both is a database, and whoever opens one says whose it is
        readable = not (file_okay and dir_okay)
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, readable=readable, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        try:
            Path(value).stat()
        except OSError as cause:
            if cause.errno in _NO_NAMES:
                self.fail(f"`{value}`: {cause.strerror}.", param, ctx)
        return super().convert(value, param, ctx)


PATH, FILE, FOLDER = _Path(), _Path(dir_okay=False), _Path(file_okay=False)
"""Any path, one that is no folder, and one that is no file; none of them need exist."""
