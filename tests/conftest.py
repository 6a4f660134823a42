"""Fixtures that all tests share."""

import os
import signal
import socket

import pytest
from hypothesis import settings

TERMINAL = {"TERM": "xterm", "COLUMNS": None, "LINES": None, "NO_COLOR": None, "FORCE_COLOR": None}
TERMINAL |= {
    "CLICOLOR": None,
    "CLICOLOR_FORCE": None,
    "TTY_COMPATIBLE": None,
    "TTY_INTERACTIVE": None,
}
"""What programs read to find out about a terminal: the same for all tests, wherever they are
run. None: not set."""


def pytest_configure() -> None:
    """Before any test, and for the programs that they start."""
    for name, value in TERMINAL.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    # under nohup it is ignored, and whatever is started would inherit that
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # no example has a time limit of its own: it would depend on the machine
    settings.register_profile("on any machine", deadline=None, print_blob=True)
    settings.load_profile("on any machine")


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """How many worker threads run the flow: a test that asks for it runs by one and by two."""
    return int(request.param)


@pytest.fixture
def unused_ports() -> tuple[int, int]:
    """Two ports of the loopback interface that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
