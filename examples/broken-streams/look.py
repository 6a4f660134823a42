"""Print the streams of node.db as trees: each event below its parent, with its number."""

from collections import defaultdict
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.tree import Tree

from connectors.sqlite import connect_reader, query
from flows.jobs.prev_chain import EventReader
from operators.encoding.cid import cid_text

DATABASE = Path("node.db")

with (
    closing(connect_reader(DATABASE)) as node,
    closing(EventReader(DATABASE, connect_reader)) as reader,
):
    cids = query(node, "SELECT cid FROM ceramic_one_event ORDER BY rowid")["cid"].to_pylist()
    events = {cid: event for cid in cids if (event := reader.find(cid))}

children = defaultdict(list)
for event in events.values():
    children[event.prev].append(event.cid)


def tree(cid: bytes) -> Tree:
    """An event and what is below it."""
    event = events.get(cid)
    name = f"{cid_text(cid)[-4:]} {(event.kind or 'unreadable') if event else 'missing'}"
    branch = Tree(
        name if event is None or event.number is None else f"{name}, delivered as {event.number}"
    )
    for child in children[cid]:
        branch.children.append(tree(child))
    return branch


missing = sorted(parent for parent in children if parent is not None and parent not in events)
for top in [*children[None], *missing]:
    Console(width=80).print(tree(top))
