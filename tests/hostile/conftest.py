"""What several tests of hostile input share."""

from pathlib import Path

import pytest

from tests.hostile.ask import node_program


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the decoder of a node, where this machine can build it."""
    found = node_program(tmp_path_factory.mktemp("node"))
    if isinstance(found, str):
        pytest.skip(found)
    return found
