"""What the machine has, as far as this process can have it."""

import os
from pathlib import Path


def memory_there_is() -> int:
    """Bytes of memory that this process can have: the machine's, or those of its cgroup."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits()])


def _cgroup_limits() -> list[int]:
    """The limits of the cgroups of this process, of both versions; none elsewhere than on Linux."""
    try:
        lines = os.fsdecode(Path("/proc/self/cgroup").read_bytes()).split("\n")
    except OSError:
        return []
    found = []
    for line in filter(None, lines):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        folder = root / group.lstrip("/")
        for cgroup in (folder, *folder.parents):
            try:
                text = (cgroup / name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            if text.isdecimal():
                found.append(int(text))
    return found
