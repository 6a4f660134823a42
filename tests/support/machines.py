"""Machines: network, host name and folders of their own, by the namespaces of Linux.

They are joined by a bridge. Each sees its own folder at the same path, and the others by their
names. All of it ends with the program that started it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.support.program import Argument, can, kill, read_line, run, start

NAMES = ("zero", "one", "two")
"""The names of the machines, in their order."""

HOLD = ("sh", "-c", "echo there; cat")
"""Holds namespaces until its stdin is closed."""


@dataclass(frozen=True)
class Machine:
    """One machine."""

    name: str
    address: str
    site: Popen[str]
    """The process whose namespaces have the bridge."""
    holder: Popen[str]
    """The process that has the namespaces of this machine."""

    def command(self, *command: Argument) -> list[str]:
        """The command line that runs a program on this machine."""
        return _inside(self.holder, "--net", "--mount", "--uts", *command)

    def run(self, script: str) -> None:
        """Run a line of shell on this machine."""
        run(self.command("sh", "-ec", script))

    def unplug(self) -> None:
        """Cut its network off, as by a cable that is drawn: no packet says so."""
        self._set_cable("down")

    def plug(self) -> None:
        """Plug it in again."""
        self._set_cable("up")

    def _set_cable(self, state: str) -> None:
        run(_inside(self.site, "--net", "ip", "link", "set", f"cable-{self.name}", state))

    def drop_from(self, other: "Machine") -> None:
        """Answer nothing that comes from another machine, as a firewall that drops it."""
        self.run(f"ip route add blackhole {other.address}/32")


@contextmanager
def machines(folder: Path, at: Path) -> Iterator[list[Machine]]:
    """Machines that see `folder/NAME`, which is there, at the path `at`.

    `lacking` says whether there can be any.
    """
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    with ExitStack() as stack:
        site = stack.enter_context(_held(["unshare", "-rnm"]))
        run(_inside(site, "--net", "ip", "link", "add", "bridge0", "type", "bridge"))
        run(_inside(site, "--net", "ip", "link", "set", "bridge0", "up"))
        found = []
        for number, name in enumerate(NAMES, 1):
            entered = _inside(site, "--net", "--mount", "unshare", "-nmu")
            holder = stack.enter_context(_held(entered))
            machine = Machine(name, f"10.0.0.{number}", site, holder)
            cable = f"cable-{name}"
            made = f"""
                ip link add {cable} type veth peer name far-{name}
                ip link set {cable} master bridge0
                ip link set {cable} up
                ip link set far-{name} netns {holder.pid}
            """
            run(_inside(site, "--net", "sh", "-ec", made))
            machine.run(f"""
                hostname {name}
                mount --bind {folder / name} {at}
                mount --bind {hosts} /etc/hosts
                ip link set lo up
                ip address add {machine.address}/24 dev far-{name}
                ip link set far-{name} up
            """)
            with hosts.open("a") as file:
                file.write(f"{machine.address} {name}\n")
            found.append(machine)
        yield found


def lacking() -> str | None:
    """Why there can be no machines here; None: there can."""
    for needed in (
        "true",
        "mount --bind /tmp /tmp",
        "ip link add bridge0 type bridge",
        "ip link add cable type veth peer name far",
    ):
        if not can("unshare", "-rnmu", "sh", "-c", needed):
            return f"no `{needed}` in namespaces of one's own"
    return None


@contextmanager
def _held(unshare: Sequence[str]) -> Iterator[Popen[str]]:
    """A process in new namespaces."""
    holder = start([*unshare, *HOLD])
    try:
        assert read_line(holder) == "there"
        yield holder
    finally:
        kill(holder)


def _inside(holder: Popen[str], *arguments: Argument) -> list[str]:
    """The command line that runs in the namespaces of a process."""
    target = ["nsenter", "--preserve-credentials", "--user", "-t", str(holder.pid)]
    return [*target, *map(str, arguments)]
