"""Print one stream of node.db in delivered order: each event after its parent."""

from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from connectors.lookup import EVENT_WITH_BLOCKS, PreparedLookUp
from connectors.sqlite import connect_reader, query
from operators.decode import decode_events
from operators.encoding.cid import cid_text
from operators.schemas import KINDS, RAW

DATABASE = Path("node.db")
STREAM = """
    SELECT cid, delivered FROM ceramic_one_event
    WHERE init_cid = (SELECT min(init_cid) FROM ceramic_one_event)
"""

with closing(connect_reader(DATABASE)) as connection:
    stored = query(connection, STREAM)
with closing(PreparedLookUp(DATABASE, EVENT_WITH_BLOCKS, connect_reader)) as events:
    raw = events.find(stored["cid"].combine_chunks()).cast(RAW).combine_chunks()

number = dict(zip(stored["cid"].to_pylist(), stored["delivered"].to_pylist(), strict=True))
links = decode_events(raw.to_batches()[0]).links.to_pylist()
table = Table("delivered", "kind", "event", "its parent")
for event in sorted(
    links, key=lambda event: (number[event["cid"]] or len(links) * 1000, event["rowid"])
):
    delivered, parent = number[event["cid"]], event["prev"]
    table.add_row(
        str(delivered or ""),
        KINDS[event["kind"]],
        cid_text(event["cid"])[-8:],
        cid_text(parent)[-8:] if parent else "",
    )
Console(width=80).print(table)
