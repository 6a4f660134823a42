"""The oracle: what a run must have done to a database, in plain Python without code of ours.

before = read(path)
... a run ...
check(before, read(path))
"""

from collections import defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import adbc_driver_sqlite.dbapi as sqlite
from cbrrr import CID, decode_dag_cbor


class Place(NamedTuple):
    """Where an event says it belongs; `prev` is None for an init event."""

    stream: bytes
    prev: bytes | None


@dataclass(frozen=True)
class Contents:
    """All that a database holds."""

    numbers: dict[bytes, int | None]
    """For each event, by CID, its `delivered`."""
    places: dict[bytes, Place]
    """For each event that can be read, by CID."""
    rest: dict[str, list[tuple[Any, ...]]]
    """For each table its rows but for `delivered`, each value as an SQL literal, the rowid
    first; and the schema itself."""

    @property
    def highest(self) -> int:
        """The highest number, 0 without any."""
        return max((number for number in self.numbers.values() if number is not None), default=0)


def read(path: Path) -> Contents:
    """Read everything, as SQL literals: the driver guesses a column's type from its first rows."""
    with (
        sqlite.connect(f"{path.resolve().as_uri()}?mode=ro") as connection,
        connection.cursor() as cursor,
    ):

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return list(
                zip(
                    *(
                        column.to_pylist()
                        for column in cursor.execute(sql).fetch_arrow_table().columns
                    ),
                    strict=True,
                )
            )

        rest = {
            "schema": rows(
                "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master ORDER BY 1, 2"
            )
        }
        for kind, table, _, _ in list(rest["schema"]):
            if kind == "table":
                columns = [
                    name
                    for (name,) in rows(f"SELECT name FROM pragma_table_info('{table}')")
                    if name != "delivered"
                ]
                quoted = ", ".join(f'quote("{name}")' for name in columns)
                rest[table] = rows(
                    f"SELECT rowid, {quoted} FROM {table} ORDER BY rowid"
                )  # names from the schema
        events = rows("SELECT quote(cid), quote(delivered) FROM ceramic_one_event")
        stored = rows("SELECT quote(multihash), quote(bytes) FROM ceramic_one_block")
    blocks = {_bytes(multihash): _bytes(content) for multihash, content in stored}
    numbers = {_bytes(cid): None if number == "NULL" else int(number) for cid, number in events}
    places = {cid: place for cid in numbers if (place := _place(cid, blocks)) is not None}
    return Contents(numbers, places, rest)


def _bytes(literal: str) -> bytes:
    return bytes.fromhex(literal[2:-1])


def _place(cid: bytes, blocks: dict[bytes, bytes]) -> Place | None:
    """An event's place by its blocks (FORMAT.md, The four kinds of event); None: unreadable."""
    root = _decode(blocks.get(_multihash(cid), b""))
    if {"id", "prev", "proof", "path"} <= root.keys():
        return _linked(root, "id", "prev", "proof") if isinstance(root["path"], str) else None
    if {"payload", "signatures"} <= root.keys():
        payload = _decode(
            blocks.get(_multihash(root["payload"]), b"")
            if isinstance(root["payload"], bytes)
            else b""
        )
        if {"id", "prev", "data"} <= payload.keys():
            return _linked(payload, "id", "prev")
        return _init(cid, payload)
    return _init(cid, root)


def _linked(fields: dict[str, Any], *keys: str) -> Place | None:
    if not all(isinstance(fields[key], CID) for key in keys):
        return None
    return Place(bytes(fields["id"]), bytes(fields["prev"]))


def _init(cid: bytes, fields: dict[str, Any]) -> Place | None:
    header = fields.get("header")
    return (
        Place(cid, None)
        if isinstance(header, dict) and isinstance(header.get("model"), bytes)
        else None
    )


def _decode(block: bytes) -> dict[str, Any]:
    """The fields of a block, none if it is missing or no map."""
    try:
        fields = decode_dag_cbor(block)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _multihash(cid: bytes) -> bytes:
    return cid[3 if cid[1:2] >= b"\x80" else 2 :]  # a codec of two bytes or of one


def deliverable(contents: Contents, unservable: AbstractSet[bytes] = frozenset()) -> set[bytes]:
    """The undelivered events that can be delivered: init events, and children of deliverable ones.

    `unservable`: readable events that must not be delivered, because no node could serve them.
    """
    undelivered = {
        cid: place
        for cid, place in contents.places.items()
        if contents.numbers[cid] is None and cid not in unservable
    }
    children = defaultdict(list)
    for cid, place in undelivered.items():
        children[place.prev].append(cid)
    found = set(children.pop(None, []))
    ready = [
        *found,
        *(
            cid
            for cid, number in contents.numbers.items()
            if number is not None and cid in contents.places
        ),
    ]
    while ready:
        parent = ready.pop()
        for child in children[parent]:
            if undelivered[child].stream == contents.places[parent].stream:
                found.add(child)
                ready.append(child)
    return found


def check(
    before: Contents, after: Contents, unservable: AbstractSet[bytes] = frozenset()
) -> set[bytes]:
    """Hold a complete run to its promises; the CIDs that it delivered."""
    assert after.rest == before.rest, "something but `delivered` was written"
    old = {cid: number for cid, number in before.numbers.items() if number is not None}
    assert {cid: after.numbers[cid] for cid in old} == old, "an old number was changed"
    new = {
        cid: number
        for cid, number in after.numbers.items()
        if number is not None and cid not in old
    }
    assert new.keys() == deliverable(before, unservable), (
        "not exactly the deliverable events were delivered"
    )
    first = before.highest + 1
    assert sorted(new.values()) == list(range(first, first + len(new))), (
        "the new numbers are not unique and dense above the old ones"
    )
    for cid, number in new.items():
        prev = after.places[cid].prev
        assert prev is None or (after.numbers[prev] or number) < number, (
            "an event was delivered before its parent"
        )
    return set(new)
