"""Reports to systemd how far a service is (`Type=notify`)."""

import os
import socket

from flows.terminal.console import print_message


def notify(state: str) -> None:
    """Send `READY=1` or the like to the socket that $NOTIFY_SOCKET names, if it names one."""
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return
    # a name that begins with @ is in no folder: the kernel calls it by a zero byte
    address = f"\0{name[1:]}" if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.sendto(state.encode(), address)
    except OSError as cause:
        print_message(f"Can't send `{state}` to `{name}` (NOTIFY_SOCKET): {cause.strerror}.")
