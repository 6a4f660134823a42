"""Fixtures that all tests share."""

import pytest


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """How many worker threads run the flow: each test that asks for it runs once by one and once by two."""
    return int(request.param)
