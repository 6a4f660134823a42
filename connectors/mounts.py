"""Which file system a file lies on, and whether the file has a second name by a mount (Linux)."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import CannotStartError

PROCESSES = Path("/proc")
"""Where Linux lists the mounts of each process, in `mountinfo` (proc_pid_mountinfo(5)); no other
system has it."""

SHARED = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ceph", "glusterfs", "lustre", "gpfs"),
    *("beegfs", "orangefs", "gfs2", "ocfs2", "sshfs", "s3fs", "rclone", "davfs", "9p", "virtiofs"),
    *("vboxsf", "vmhgfs", "vmhgfs-fuse", "prl_fs", "grpcfuse"),
}
"""Types of file systems that other machines, or the host of a virtual one, work on as well."""


@dataclass(frozen=True)
class Mount:
    """One line of `mountinfo`."""

    device: str
    """Major and minor number of the file system."""
    root: str
    """The file or folder of that file system which is mounted."""
    point: str
    """Where it is mounted."""
    kind: str
    """The type of the file system: `ext4`, `nfs4`, `overlay`."""


def file_system(path: Path) -> str | None:
    """The type of the file system that a resolved `path` lies on, None if it is not known."""
    mount = _own_mount_of(path)
    return None if mount is None else mount.kind


def on_file_system(path: Path) -> str:
    """The last clause of an error that the file system may be the cause of; empty: nobody knows."""
    kind = file_system(path)
    return "" if kind is None else f"; its file system is `{kind}`"


def is_shared(mount: Mount) -> bool:
    """Whether other machines may work on what is mounted.

    They do not on the root of this one: a sandbox often has its own root from its host this way.
    """
    return mount.kind.removeprefix("fuse.") in SHARED and mount.point != "/"


def require_own_disk(path: Path) -> None:
    """Check that no other machine can have the database at a resolved `path` open.

    Its locks may not be seen here, and the shared memory by which SQLite's connections agree on a
    WAL never is.

    Raises:
        CannotStartError: it lies on a file system that is shared.
    """
    mount = _own_mount_of(path)
    if mount is not None and is_shared(mount):
        raise CannotStartError(
            f"`{path}` lies on the file system `{mount.kind}`",
            why="a node on another machine that has it open could not be seen, and both would "
            "damage it",
            advice="Run on the machine whose disk it is; or stop the node, work on a copy on a "
            "local disk, and copy it back.",
        )


def second_name(path: Path) -> str | None:
    """Another name of the same file by a mount of this file alone, None if there is none.

    SQLite keeps a database's WAL next to the name by which the file is opened. A mount of the
    folder shows the file with its WAL; a mount of the file alone shows the file without it.

    Mounts of other processes (containers) are looked at as far as this user may read them.
    """
    own = _mounts(PROCESSES / "self" / "mountinfo")
    mount = _mount_of(path, own)
    if mount is None:
        return None
    if mount.point == str(path):
        return mount.root
    within = str(Path(mount.root) / path.relative_to(mount.point))
    for mounts in (own, *_mounts_of_others()):
        for other in mounts:
            if (other.device, other.root) == (mount.device, within):
                return other.point
    return None


def _own_mount_of(path: Path) -> Mount | None:
    """The mount on which this process sees a resolved `path`, None if it is not known."""
    return _mount_of(path, _mounts(PROCESSES / "self" / "mountinfo"))


def _mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount on which `path` lies: the deepest one, and the last of several at one place."""
    best = None
    for mount in mounts:
        deeper = best is None or len(mount.point) >= len(best.point)
        if deeper and path.is_relative_to(mount.point):
            best = mount
    return best


def _mounts_of_others() -> Iterator[list[Mount]]:
    """The mounts of all other mount namespaces, each once."""
    seen = set()
    with suppress(OSError):
        seen.add((PROCESSES / "self" / "ns" / "mnt").readlink())
    for process in sorted(PROCESSES.glob("[0-9]*")):
        with suppress(OSError):
            namespace = (process / "ns" / "mnt").readlink()
            if namespace not in seen:
                seen.add(namespace)
                yield _mounts(process / "mountinfo")


def _mounts(table: Path) -> list[Mount]:
    """The mounts that a process sees; none where the system does not list them."""
    try:
        # not by `splitlines`: what Unicode calls a line end may be in a name
        lines = os.fsdecode(table.read_bytes()).split("\n")
    except OSError:
        return []
    found = []
    for line in filter(None, lines):
        # optional fields stand between the sixth field and a dash
        fields, _, rest = line.partition(" - ")
        _, _, device, root, point, *_ = fields.split(" ")
        found.append(Mount(device, _unescaped(root), _unescaped(point), rest.split(" ")[0]))
    return found


def _unescaped(name: str) -> str:
    """A name as it is: `mountinfo` writes blanks, tabs, line ends and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), name)
