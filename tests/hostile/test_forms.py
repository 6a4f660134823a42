"""Who takes which form of an event: a node, `run` and `verify`, as the README of this folder says."""

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.sqlite import connect, execute
from tests.hostile.forms import Form, forms
from tests.support.job import chain, store
from tests.support.program import ROOT, ceramic_order, run

CARGO = shutil.which("cargo")
BUILD_SECONDS = 3600
"""Longer than Rust takes to build the crates of the node on a slow machine."""


@pytest.fixture(scope="module")
def table() -> dict[str, Form]:
    """All forms, in the stream of an init event."""
    init = chain(1)[0]
    return forms(init.stream, init.cid)


def _stored(folder: Path, table: dict[str, Form]) -> Path:
    events = [chain(1)[0], *(form.event for form in table.values())]
    assert len({event.cid for event in events}) == len(events)
    return store(folder / "node.db", events, [1, *[None] * len(table)])


def test_run_takes_what_the_table_says(tmp_path: Path, table: dict[str, Form]) -> None:
    database = _stored(tmp_path, table)
    run(ceramic_order("run", database, "--report", tmp_path / "report"))
    left = {row["cid"] for row in pq.read_table(tmp_path / "report").to_pylist()}
    assert {name: form.event.cid not in left for name, form in table.items()} == {
        name: form.run for name, form in table.items()
    }


def test_verify_takes_what_the_table_says(tmp_path: Path, table: dict[str, Form]) -> None:
    database = _stored(tmp_path, table)
    with closing(connect(database, "rw")) as connection:
        execute(connection, "UPDATE ceramic_one_event SET delivered = rowid")
    run(ceramic_order("verify", database, "--report", tmp_path / "report"), code=1)
    named = {
        row["cid"]
        for row in pq.read_table(tmp_path / "report").to_pylist()
        if row["rule"] == "block-readable"
    }
    found = {name: form.event.cid not in named for name, form in table.items()}
    assert found == {name: form.verify for name, form in table.items()}


@pytest.mark.soak
@pytest.mark.skipif(CARGO is None, reason="the decoder of a node is in Rust: it takes `cargo`")
def test_a_node_takes_what_the_table_says(tmp_path: Path, table: dict[str, Form]) -> None:
    # elsewhere, because cargo writes a lock file beside the source
    shutil.copytree(ROOT / "tests/hostile/node", tmp_path / "node")
    built = run(
        [str(CARGO), "build", "-q"],
        code=None,
        cwd=tmp_path / "node",
        environment={"CARGO_TARGET_DIR": str(tmp_path)},
        seconds=BUILD_SECONDS,
    )
    if built.code:
        pytest.skip(f"the crates of the node's decoder are not to be had: {built.err[-200:]}")
    blocks = [[one.content.hex() for one in reversed(form.event.blocks)] for form in table.values()]
    ended = run([tmp_path / "debug/node-reads"], given="\n".join(map(" ".join, blocks)))
    found = dict(zip(table, (word == "yes" for word in ended.out.split()), strict=True))
    assert found == {name: form.node for name, form in table.items()}
