"""One event: from its blocks to its kind, stream and parent, or to why it can't be read.

The rules are those of FORMAT.md, The four kinds of event.
"""

from collections.abc import Callable
from typing import NamedTuple

from operators.encoding.dagcbor import LIST, MAP
from operators.encoding.envelope import read_envelope
from operators.encoding.typed import Value, given, read_value
from operators.schemas import DATA, INIT, TIME, UNSIGNED_INIT, Reason


class Links(NamedTuple):
    """What an event says of itself: the CIDs of its stream and its parent, and its kind.

    `stream` None: the event begins one. `prev` None: it has no parent.
    """

    stream: bytes | None
    prev: bytes | None
    kind: int


def read_event(root: bytes, payload: bytes) -> Links | Reason:
    """Read an event's kind, stream and parent from its root block and, if named, its payload.

    An empty block stands for one that the database does not hold. A node tries the kinds one after
    the other, and takes the first that fits.
    """
    if not root:
        return Reason.ROOT_MISSING
    event = read_value(root)
    if event is None:
        return Reason.NOT_DAG_CBOR
    time = _read_time(event)
    if time is not None:
        return time
    envelope = read_envelope(event)
    if envelope is not None:
        if envelope.payload is None:
            return Reason.PAYLOAD_NO_CID
        return _read_payload(payload)
    if _is_init(event):
        return Links(None, None, UNSIGNED_INIT)
    return _why_no_event(event)


def _why_no_event(event: Value) -> Reason:
    if not event.is_any():
        return Reason.NOT_DAG_CBOR
    if event.kind == MAP:
        time = ("id", "prev", "proof", "path")
        if len(event.fields(time, 0) or ()) == len(time):
            return Reason.NO_LINK
        envelope = event.fields(("payload", "signatures"), 0) or {}
        if {"payload", "signatures"} <= envelope.keys():
            is_named = envelope["payload"].kind != LIST and envelope["payload"].is_cid()
            return Reason.NOT_AN_EVENT if is_named else Reason.PAYLOAD_NO_CID
    return Reason.NOT_AN_EVENT


def _read_time(event: Value) -> Links | None:
    names = ("id", "prev", "proof", "path")
    fields = event.fields(names, len(names))
    if fields is None or len(fields) < len(names):
        return None
    stream, prev, proof = (fields[name].cid() for name in names[:3])
    if stream is None or prev is None or proof is None or not fields["path"].is_text():
        return None
    return Links(stream.binary, prev.binary, TIME)


def _read_payload(payload: bytes) -> Links | Reason:
    if not payload:
        return Reason.PAYLOAD_MISSING
    event = read_value(payload)
    if event is None:
        return Reason.NOT_DAG_CBOR
    data = _read_data(event)
    if data is not None:
        return data
    if _is_init(event):
        return Links(None, None, INIT)
    if not event.is_any():
        return Reason.NOT_DAG_CBOR
    links = event.fields(("id", "prev", "data"), 0) if event.kind == MAP else None
    if links is not None and links.keys() == {"id", "prev", "data"}:
        is_linked = links["id"].is_cid() and links["prev"].is_cid()
        return Reason.NOT_AN_EVENT if is_linked else Reason.NO_LINK
    return Reason.NOT_AN_EVENT


def _read_data(event: Value) -> Links | None:
    names = ("id", "prev", "header", "data")
    fields = event.fields(names, len(names))
    if fields is None or not {"id", "prev", "data"} <= fields.keys():
        return None
    stream, prev, header = fields["id"].cid(), fields["prev"].cid(), given(fields.get("header"))
    if stream is None or prev is None:
        return None
    if header is not None:
        inner = header.fields(("shouldIndex", "modelVersion"), 0)
        if inner is None or not _have_types(inner, _OPTIONAL):
            return None
    return Links(stream.binary, prev.binary, DATA) if fields["data"].is_any() else None


def _is_init(event: Value) -> bool:
    fields = event.fields(("header", "data"), 2)
    header = fields["header"].fields(_INIT_HEADER, 3) if fields and "header" in fields else None
    return (
        fields is not None
        and header is not None
        and "model" in header
        and header["model"].is_bytes()
        and ("controllers" not in header or header["controllers"].is_texts())
        and _have_types(header, _OPTIONAL)
        and ("data" not in fields or fields["data"].is_any())
    )


# A node decodes these fields into types, and refuses the event otherwise; it ignores all others.
_INIT_HEADER = ("controllers", "sep", "model", "shouldIndex", "unique", "context", "modelVersion")
_OPTIONAL: dict[str, Callable[[Value], bool]] = {
    "sep": Value.is_text,
    "shouldIndex": Value.is_flag,
    "unique": Value.is_bytes,
    "context": Value.is_bytes,
    "modelVersion": Value.is_cid,
}
"""Fields of a header that may be absent or null."""


def _have_types(fields: dict[str, Value], types: dict[str, Callable[[Value], bool]]) -> bool:
    """Whether each of the optional fields is of its type, null, or absent."""
    return all(
        value.is_null() or name not in types or types[name](value) for name, value in fields.items()
    )
