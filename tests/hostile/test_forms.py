"""Who takes which form of an event: a node, `run` and `verify`, as `form_differences` says."""

from pathlib import Path

import pytest

from tests.hostile.ask import stored, taken_by_node, taken_by_run, taken_by_verify
from tests.hostile.forms import Form, forms
from tests.support.job import chain


@pytest.fixture(scope="module")
def table() -> dict[str, Form]:
    """All forms, in the stream of an init event."""
    init = chain(1)[0]
    return forms(init.stream, init.cid)


def test_run_takes_what_the_table_says(tmp_path: Path, table: dict[str, Form]) -> None:
    assert taken_by_run(tmp_path, table) == {name: form.run for name, form in table.items()}


def test_verify_takes_what_the_table_says(tmp_path: Path, table: dict[str, Form]) -> None:
    assert taken_by_verify(tmp_path, table) == {name: form.verify for name, form in table.items()}


@pytest.mark.soak
def test_a_node_takes_what_the_table_says(
    node: Path, tmp_path: Path, table: dict[str, Form]
) -> None:
    found = taken_by_node(node, stored(tmp_path, table), table)
    assert found == {name: form.node for name, form in table.items()}
