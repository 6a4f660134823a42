"""A memory cgroup: a process and its page cache in so many bytes, where the machine allows it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDERS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",  # version 1
    Path("/sys/fs/cgroup"): "memory.max",  # version 2
}
"""Where cgroups are, and the file that takes the limit."""

NAME = "ceramic-order-benchmark"


@contextmanager
def limited(limit_bytes: int) -> Iterator[Path | None]:
    """The folder of a new cgroup with this limit; None: this machine does not allow one."""
    for root, limit in FOLDERS.items():
        group = root / NAME
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            with suppress(OSError):
                group.rmdir()
        return
    yield None


def inside(group: Path | None, command: list[str]) -> list[str]:
    """The command line that runs another one within a cgroup."""
    if group is None:
        return command
    enter = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
    return ["/bin/sh", "-c", enter, "sh", *command]
