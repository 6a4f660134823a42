"""Decode: from an event's blocks to its stream and its parent, or to the reason why it can't be read.

The rules are those of FORMAT.md, The four kinds of event. `read_event` is the rule for one event;
`decode` applies it to a batch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
import pyarrow as pa
from bytewax.dataflow import Stream, operator
from libipld import decode_dag_cbor

from operators.check.batch import NodeCheck
from operators.encoding.cid import multihash
from operators.encoding.dagcbor import ends_linked, is_beyond_node, linked_keys
from operators.encoding.layouts import (
    DATA_LAYOUT,
    DATA_WITH_HEADER,
    TIME_LAYOUT,
    Places,
    Rows,
    plain_envelopes,
    read_alike,
)
from operators.schemas import (
    BLOCKS,
    DATA,
    INIT,
    LEFT,
    LINKS,
    TIME,
    UNSIGNED_INIT,
    Measure,
    Page,
    Reason,
    unmeasured,
)

_UNREADABLE = -1
"""Stands for the kind of an event that could not be read."""


class Links(NamedTuple):
    """What an event says of its place: the CIDs of its stream and parent; None stands for the event itself and for no parent."""

    stream: bytes | None
    prev: bytes | None
    kind: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded batch.

    `links` (schema LINKS) holds the readable events, `rejected` (schema LEFT) the others; both in
    the order of the input.
    """

    links: pa.RecordBatch
    rejected: pa.RecordBatch


@dataclass(frozen=True)
class DecodeOut:
    """The two outputs of `decode`."""

    links: Stream[pa.RecordBatch]
    rejected: Stream[pa.RecordBatch]


def read_event(root: bytes, payload: bytes) -> Links | Reason:
    """Tell an event's kind, stream and parent from its root block and, if that is an envelope, its payload block.

    An empty block stands for one that the database does not hold.
    """
    if not root:
        return Reason.ROOT_MISSING
    try:
        fields = decode_dag_cbor(root)
    except (ValueError, RecursionError):
        return Reason.NOT_DAG_CBOR
    if is_beyond_node(root, fields):
        return Reason.NOT_DAG_CBOR
    if not isinstance(fields, dict):
        return Reason.NOT_AN_EVENT
    if {"id", "prev", "proof", "path"} <= fields.keys():
        linked = {"id", "prev", "proof"} <= linked_keys(root) and isinstance(fields["path"], str)
        return Links(fields["id"], fields["prev"], TIME) if linked else Reason.NO_LINK
    if {"payload", "signatures"} <= fields.keys():
        return _read_payload(fields, payload)
    return Links(None, None, UNSIGNED_INIT) if _is_init(fields) else Reason.NOT_AN_EVENT


def _read_payload(envelope: dict[str, Any], payload: bytes) -> Links | Reason:
    if not isinstance(envelope["payload"], bytes) or multihash(envelope["payload"]) is None:
        return Reason.PAYLOAD_NO_CID
    if not isinstance(envelope["signatures"], list) or not all(
        map(_is_signature, envelope["signatures"])
    ):
        return Reason.NOT_AN_EVENT
    if not payload:
        return Reason.PAYLOAD_MISSING
    try:
        fields = decode_dag_cbor(payload)
    except (ValueError, RecursionError):
        return Reason.NOT_DAG_CBOR
    if is_beyond_node(payload, fields):
        return Reason.NOT_DAG_CBOR
    if not isinstance(fields, dict):
        return Reason.NOT_AN_EVENT
    if {"id", "prev", "data"} <= fields.keys() and _has_types(fields.get("header"), _DATA_HEADER):
        return (
            Links(fields["id"], fields["prev"], DATA)
            if _data_is_linked(fields, payload)
            else Reason.NO_LINK
        )
    return Links(None, None, INIT) if _is_init(fields) else Reason.NOT_AN_EVENT


def _data_is_linked(fields: dict[str, Any], payload: bytes) -> bool:
    # an event with a header is the one common form that has no layout of its own; walking through
    # its data takes five times as long
    if (
        tuple(fields) == ("id", "data", "prev", "header")
        and payload.startswith(b"\xa4\x62id\xd8\x2a")
        and ends_linked(payload, fields)
    ):
        return True
    return {"id", "prev"} <= linked_keys(payload)


def _is_init(fields: dict[str, Any]) -> bool:
    header = fields.get("header")
    return (
        isinstance(header, dict)
        and isinstance(header.get("model"), bytes)
        and isinstance(header.get("controllers", []), list)
        and all(isinstance(controller, str) for controller in header.get("controllers", []))
        and _has_types(header, _INIT_HEADER)
    )


# A node decodes these fields into types, and refuses the event otherwise; null stands for none, and
# it ignores all other fields.
_DATA_HEADER: dict[str, type] = {"shouldIndex": bool, "modelVersion": bytes}
_INIT_HEADER: dict[str, type] = {"sep": str, "shouldIndex": bool, "unique": bytes, "context": bytes}
_SIGNATURE: dict[str, type] = {"header": dict, "protected": bytes}


def _has_types(fields: object, types: dict[str, type]) -> bool:
    """Whether this is none, or a map in which each of these fields is of its type, null, or absent."""
    if fields is None:
        return True
    return isinstance(fields, dict) and all(
        fields.get(name) is None or isinstance(fields[name], kind) for name, kind in types.items()
    )


def _is_signature(signature: object) -> bool:
    return (
        isinstance(signature, dict)
        and isinstance(signature.get("signature"), bytes)
        and _has_types(signature, _SIGNATURE)
    )


def decode_events(
    raw: pa.RecordBatch,
    check: NodeCheck | None = None,
    measure: Measure = unmeasured,
    beside: pa.Table | None = None,
) -> Decoded:
    """Decode a batch of schema RAW; every row comes out once, as links or as rejected, never as an exception.

    With `check`, an event that a node could not serve is rejected too; `beside` are the blocks that
    were read with the events, as in a `Page`.
    """
    with _no_cyclic_garbage_collection():
        plain = plain_envelopes(raw["root"])
        times = read_alike(raw["root"], ~plain, TIME_LAYOUT)
        groups = [
            *read_alike(raw["payload"], plain, DATA_LAYOUT),
            *read_alike(raw["payload"], plain, DATA_WITH_HEADER),
            *times,
        ]
        alone, reasons = _read_alone(raw, groups)
        links, rows = _in_input_order(raw, [*groups, alone])
        if check is not None:
            kind = np.full(raw.num_rows, _UNREADABLE, dtype=np.int8)
            kind[rows] = links["kind"]
            with measure("check", links.num_rows):
                failed = check.failures(
                    raw, BLOCKS.empty_table() if beside is None else beside, kind, plain, times
                )
            reasons |= failed
            links = links.filter(pa.array(~np.isin(rows, list(failed)))) if failed else links
    return Decoded(links, _rejects(raw, sorted(reasons.items())))


def _read_alone(raw: pa.RecordBatch, groups: list[Places]) -> tuple[Places, dict[int, Reason]]:
    """The readable events of a batch that are in none of the groups, and why the others are not, by row."""
    unread = np.ones(raw.num_rows, dtype=np.bool_)
    for group in groups:
        unread[group.rows] = False
    reasons: dict[int, Reason] = {}
    rows, streams, prevs, kinds = [], [], [], []
    for row in np.flatnonzero(unread).tolist():
        event = read_event(raw["root"][row].as_py(), raw["payload"][row].as_py())
        if isinstance(event, Reason):
            reasons[row] = event
            continue
        rows.append(row)
        streams.append(event.stream or raw["cid"][row].as_py())
        prevs.append(event.prev)
        kinds.append(event.kind)
    at, stream, prev = (
        np.array(rows, dtype=np.int64),
        pa.array(streams, pa.binary()),
        pa.array(prevs, pa.binary()),
    )
    return Places(
        at, stream, prev, np.array(kinds, dtype=np.int8), pa.nulls(len(rows), pa.binary())
    ), reasons


def _in_input_order(raw: pa.RecordBatch, groups: list[Places]) -> tuple[pa.RecordBatch, Rows]:
    """The events of all groups with schema LINKS, and their rows, which rise."""
    unordered = np.concatenate([group.rows for group in groups])
    position = np.full(raw.num_rows, -1)
    position[unordered] = np.arange(len(unordered))
    rows = np.flatnonzero(position >= 0)
    position = position[rows]
    kind = np.concatenate([group.kind for group in groups])[position]
    own = (
        raw.select(["rowid", "cid"])
        if len(rows) == raw.num_rows
        else raw.select(["rowid", "cid"]).take(pa.array(rows))
    )
    stream, prev = (
        pa.concat_arrays(column).take(pa.array(position))
        for column in zip(*(group[1:3] for group in groups), strict=True)
    )
    return pa.record_batch([*own.columns, stream, prev, pa.array(kind)], schema=LINKS), rows


def _rejects(raw: pa.RecordBatch, reasons: list[tuple[int, Reason]]) -> pa.RecordBatch:
    at = pa.array([row for row, _ in reasons], pa.int64())
    unknown = pa.nulls(len(reasons), pa.binary())
    reason = pa.array([str(reason) for _, reason in reasons], pa.string())
    return pa.record_batch(
        [raw["rowid"].take(at), raw["cid"].take(at), unknown, unknown, reason, unknown], schema=LEFT
    )


@operator
def decode(
    step_id: str,  # noqa: ARG001 # Bytewax's signature
    up: Stream[Page],
    *,
    check: NodeCheck | None = None,
    measure: Measure = unmeasured,
) -> DecodeOut:
    """Decode pages of events into readable events and rejected ones.

    With `check`, an event that a node could not serve is rejected too; pages then need `listed`.

    Returns two streams of batches, without empty ones: `links` of schema LINKS and `rejected` of
    schema LEFT.
    """

    def decode_page(page: Page) -> Decoded:
        with measure("decode", page.events.num_rows):
            return decode_events(page.events, check, measure, page.beside)

    decoded = op.map("events", up, decode_page)
    links = op.filter("some_links", op.map("links", decoded, lambda batch: batch.links), has_rows)
    rejected = op.filter(
        "some_rejected", op.map("rejected", decoded, lambda batch: batch.rejected), has_rows
    )
    return DecodeOut(links, rejected)


def has_rows(batch: pa.RecordBatch) -> bool:
    """Whether a batch holds any event."""
    return bool(batch.num_rows)


@contextmanager
def _no_cyclic_garbage_collection() -> Iterator[None]:
    """Decoded blocks hold no cycles, yet looking for some took a fifth of the time of a run."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
