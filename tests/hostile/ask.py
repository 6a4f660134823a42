"""Ask about the forms: stores them, and says who takes which."""

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

from connectors.sqlite import connect, execute, query
from operators.schemas import WAITING, Reason
from tests.hostile.forms import Form
from tests.support.job import chain, store
from tests.support.program import ROOT, ceramic_order, run

BUILD_SECONDS = 3600
"""Longer than Rust takes to build the crates of the node on a slow machine."""

TAKEN = {str(reason) for reason in (*WAITING, Reason.OTHER_STREAM)}
"""Reasons of events that `run` takes as they are: what is above them is in the way."""

READABLE = {
    "block-present",
    "block-listed",
    "block-readable",
    "root-flagged",
    "order-key-valid",
    "signature-present",
    "witness-proves-prev",
}
"""The rules of `verify` by which a node can't serve an event."""

_BLOCKS = """
    SELECT event.rowid AS rowid, event.cid AS cid, hex(order_key) AS order_key,
           CASE typeof(codec) WHEN 'integer' THEN codec ELSE -1 END AS codec,
           CASE typeof(root) WHEN 'integer' THEN root <> 0 ELSE -1 END AS root,
           hex(multihash) AS multihash, hex(bytes) AS bytes
    FROM ceramic_one_event AS event
    JOIN ceramic_one_event_block ON event_cid = event.cid
    JOIN ceramic_one_block ON multihash = block_multihash
    ORDER BY event.rowid, idx
"""


def stored(folder: Path, table: dict[str, Form]) -> Path:
    """A database with all forms, below a delivered init event."""
    events = [chain(1)[0], *(form.event for form in table.values())]
    assert len({event.cid for event in events}) == len(events)
    path = store(folder / "node.db", events, [1, *[None] * len(table)])
    with closing(connect(path, "rw")) as connection:
        for form in table.values():
            if form.change:
                execute(connection, form.change)
    return path


def taken_by_run(folder: Path, table: dict[str, Form]) -> dict[str, bool]:
    """Which of the forms `run` takes."""
    run(ceramic_order("run", stored(folder, table), "--report", folder / "report"))
    rejected = {
        row["cid"]
        for row in pq.read_table(folder / "report").to_pylist()
        if row["reason"] not in TAKEN
    }
    return {name: form.event.cid not in rejected for name, form in table.items()}


def taken_by_verify(folder: Path, table: dict[str, Form]) -> dict[str, bool]:
    """Which of the forms `verify` takes."""
    path = stored(folder, table)
    with closing(connect(path, "rw")) as connection:
        execute(connection, "UPDATE ceramic_one_event SET delivered = rowid")
    run(ceramic_order("verify", path, "--report", folder / "report"), code=1)
    named = {
        row["cid"]
        for row in pq.read_table(folder / "report").to_pylist()
        if row["rule"] in READABLE
    }
    return {name: form.event.cid not in named for name, form in table.items()}


def node_program(folder: Path) -> Path | str:
    """The node's decoder, built in this folder; or why this machine can't build it."""
    if shutil.which("cargo") is None:
        return "the decoder of a node is in Rust: it takes `cargo`"
    # elsewhere, because cargo writes a lock file next to the source
    shutil.copytree(ROOT / "tests/hostile/node", folder / "node")
    built = run(
        ["cargo", "build", "-q"],
        code=None,
        cwd=folder / "node",
        environment={"CARGO_TARGET_DIR": str(folder)},
        seconds=BUILD_SECONDS,
    )
    assert "could not compile" not in built.err, built.err
    if built.code:
        return f"the crates of the node's decoder are not to be had: {built.err[-200:]}"
    return folder / "debug/node-reads"


def taken_by_node(program: Path, path: Path, table: dict[str, Form]) -> dict[str, bool]:
    """Which of the forms in a database a node takes."""
    with closing(connect(path)) as connection:
        rows = query(connection, _BLOCKS).to_pylist()
    events: dict[bytes, list[str]] = {}
    for row in rows:
        fields = events.setdefault(row["cid"], [row["cid"].hex(), row["order_key"]])
        fields.append(f"{row['codec']}:{row['root']}:{row['multihash']}:{row['bytes']}")
    lines = [" ".join(events[form.event.cid]) for form in table.values()]
    answers = run([program], given="\n".join(lines)).out.splitlines()
    return {name: answer.startswith("yes") for name, answer in zip(table, answers, strict=True)}
