"""Fixtures that all tests share."""

import socket

import pytest


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """How many worker threads run the flow: each test that asks for it runs once by one and once by two."""
    return int(request.param)


@pytest.fixture
def unused_ports() -> tuple[int, int]:
    """Two ports of the loopback interface that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
