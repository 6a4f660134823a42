"""Events up a chain of prevs, read from the database by CID."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from connectors.lookup import BLOCK, PreparedLookUp
from connectors.schema import read_schema
from connectors.sqlite import Connection
from connectors.undelivered import ORDER_KEY
from operators.encoding.cid import multihash
from operators.encoding.envelope import payload_multihash
from operators.event import Links, read_event
from operators.schemas import KINDS, RAW, Reason

EVENT = f"""
    SELECT rowid, CASE typeof(delivered) WHEN 'integer' THEN delivered END AS number,
           delivered IS NOT NULL AS is_delivered,
           coalesce({{noted}}, x'') AS noted, {ORDER_KEY} AS order_key
    FROM ceramic_one_event AS event WHERE cid = ?
"""

UNDELIVERED = """
    SELECT CAST(cid AS BLOB) AS cid, count(*) OVER () AS events FROM ceramic_one_event
    WHERE delivered IS NULL AND init_cid = ? ORDER BY rowid LIMIT 100
"""
"""The first undelivered events of a stream, as the node noted it, and how many there are."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the database holds it."""

    cid: bytes
    rowid: int
    number: int | None
    is_delivered: bool
    noted: bytes
    """The CID of its stream as the node noted it; empty: it noted none."""
    order_key: bytes
    root: bytes
    payload: bytes
    links: Links | Reason

    @property
    def kind(self) -> str | None:
        """One of KINDS, None if it can't be read."""
        return KINDS[self.links.kind] if isinstance(self.links, Links) else None

    @property
    def prev(self) -> bytes | None:
        """CID of the parent; None: there is none, or it can't be read."""
        return self.links.prev if isinstance(self.links, Links) else None

    @property
    def stream(self) -> bytes | None:
        """CID of the stream by the event's blocks, None if they can't be read."""
        return self.links.stream or self.cid if isinstance(self.links, Links) else None

    def raw(self) -> dict[str, object]:
        """The event as a row of schema RAW; its event blocks are looked up when they are needed."""
        return {name: getattr(self, name, b"") for name in RAW.names}


class EventReader:
    """Reads events by CID from what `connect` opens."""

    def __init__(self, path: Path, connect: Callable[[Path], Connection]) -> None:
        """Check that it is a ceramic-one database.

        Raises:
            CannotStartError: it is none.
        """
        with closing(connect(path)) as connection:
            schema = read_schema(connection, path)
        self._events = PreparedLookUp(
            path, EVENT.format(noted="init_cid" if schema.has_init_cid else "NULL"), connect
        )
        self._blocks = PreparedLookUp(path, BLOCK, connect)
        self._undelivered = (
            PreparedLookUp(path, UNDELIVERED, connect) if schema.has_init_cid else None
        )

    def find(self, cid: bytes) -> StoredEvent | None:
        """The event of this CID, None if the database does not hold it."""
        rows = self._events.find(pa.array([cid], pa.binary())).to_pylist()
        if not rows:
            return None
        row = rows[0]
        root = self.block(multihash(cid))
        payload = self.block(payload_multihash(root))
        return StoredEvent(
            cid=cid,
            rowid=row["rowid"],
            number=row["number"],
            is_delivered=bool(row["is_delivered"]),
            noted=row["noted"],
            order_key=row["order_key"],
            root=root,
            payload=payload,
            links=read_event(root, payload),
        )

    def undelivered_of(self, stream: bytes) -> tuple[int, list[bytes]]:
        """How many events of a stream are undelivered, and the CIDs of the first of them.

        By the stream that the node noted; 0 where its version noted none.
        """
        if self._undelivered is None:
            return 0, []
        rows = self._undelivered.find(pa.array([stream], pa.binary())).to_pylist()
        return (rows[0]["events"] if rows else 0), [row["cid"] for row in rows]

    def block(self, key: bytes | None) -> bytes:
        """The block of this multihash, an empty one if there is none."""
        found = self._blocks.find(pa.array([key], pa.binary())) if key else None
        return found["bytes"][0].as_py() if found else b""

    def climb(self, cid: bytes) -> Iterator[StoredEvent]:
        """The event of this CID, its parent, and so on.

        The last one is delivered, has no readable prev, or has a prev that is not in the database
        or came already.
        """
        seen: set[bytes] = set()
        at: bytes | None = cid
        while at is not None and at not in seen and (event := self.find(at)) is not None:
            seen.add(at)
            yield event
            at = None if event.is_delivered else event.prev

    def close(self) -> None:
        """Close the connections."""
        self._events.close()
        self._blocks.close()
        if self._undelivered is not None:
            self._undelivered.close()
