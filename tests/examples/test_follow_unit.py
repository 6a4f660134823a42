"""The unit of a service that follows: its command does what `Type=notify` expects."""

import re
import socket
from pathlib import Path
from signal import SIGTERM

from tests.support.job import chain, store
from tests.support.program import ROOT, ceramic_order, end, started

UNIT = (ROOT / "examples" / "operate" / "ceramic-order-follow.service").read_text()
PATIENCE = 60.0
"""Seconds: longer than a start takes on a busy machine."""


def of_unit(name: str) -> str:
    """A setting of the unit."""
    (value,) = re.findall(f"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def test_the_service_reports_that_it_is_ready_and_stops_in_time(
    tmp_path: Path, unused_ports: tuple[int, int]
) -> None:
    assert (of_unit("Type"), of_unit("TimeoutStartSec")) == ("notify", "infinity")
    assert float(of_unit("TimeoutStopSec")) > 2
    program, *arguments = of_unit("ExecStart").split()
    assert Path(program).name == "ceramic-order"
    store(tmp_path / "events.sqlite3", chain(3))
    there = {"/var/lib/ingest": str(tmp_path), "9131": str(unused_ports[0])}
    here = [
        re.sub("|".join(there), lambda found: there[found[0]], argument) for argument in arguments
    ]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "notify"))
        service.settimeout(PATIENCE)
        notified = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with started(ceramic_order(*here), environment=notified) as child:
            assert service.recv(100) == b"READY=1"
            child.send_signal(SIGTERM)
            assert service.recv(100) == b"STOPPING=1"
            assert end(child).code == 0
