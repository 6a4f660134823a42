"""What a root or payload block can be: its fields, read as the types that a node expects."""

from collections.abc import Iterator

from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.verify.cids import Link, cid_at_start
from flows.verify.loose import BadLink, Cbor, Items, Map, is_map, is_value
from flows.verify.protected import capability_cid
from flows.verify.readings import BlockReading, Row


def time_reading(block: bytes, stream: bytes, prev: bytes, proof: bytes, path: str) -> BlockReading:
    """The reading of a block as a time event with these fields."""
    fields: DagCborTypes = {"id": CID(stream), "prev": CID(prev), "proof": CID(proof), "path": path}
    return "block_time", (stream, prev, proof, path, encode_dag_cbor(fields) == block)


def event_readings(content: Cbor, block: bytes) -> Iterator[BlockReading]:
    """The readings of a root or payload block."""
    time = _fields(content, ("id", "prev", "proof", "path"))
    if time:
        stream, prev, proof = (_cid(link) for link in time[:3])
        path = _text(time[3])
        if stream and prev and proof and path is not None:
            yield time_reading(block, stream, prev, proof, path)
    envelope = _envelope(content)
    if envelope:
        yield "block_envelope", envelope
    data = _fields(content, ("id", "prev", "header", "data"), optional=("header",))
    if data:
        stream, prev = _cid(data[0]), _cid(data[1])
        if stream and prev and _is_data_header(data[2]) and is_value(data[3]):
            yield "block_data", (stream, prev)
    init = _fields(content, ("header", "data"), optional=("data",))
    if init and _is_init_header(init[0]) and is_value(init[1]):
        yield "block_init", ()


def _fields(
    content: Cbor,
    names: tuple[str, ...],
    *,
    optional: tuple[str, ...] = (),
    least: int | None = None,
    absent: Cbor = None,
) -> list[Cbor] | None:
    """The values of these fields of a map, or of a list that has them by position.

    Args:
        content: of a block, or of a part of one.
        names: of the fields.
        optional: the fields that a map need not have.
        least: how many fields a list must have; None: all.
        absent: the value of fields that are not there.

    Returns:
        The values in the order of `names`, None if it is no such map or list.
    """
    named = content.fields(names) if isinstance(content, Map) else content
    if isinstance(named, dict):
        if not named.keys() >= {*names} - {*optional}:
            return None
        return [named.get(name, absent) for name in names]
    fewest = len(names) if least is None else least
    if isinstance(content, list | Items) and fewest <= len(content) <= len(names):
        return [*content, *[absent] * (len(names) - len(content))]
    return None


_SIGNATURE = ("header", "protected", "signature")


def _envelope(content: Cbor) -> Row | None:
    envelope = _fields(content, ("payload", "signatures"))
    if not envelope or type(envelope[0]) is not bytes:
        return None
    payload, signatures = cid_at_start(envelope[0]), envelope[1]
    if payload is None or not isinstance(signatures, list | Items):
        return None
    first: bytes | None = None
    for number, one in enumerate(signatures):
        fields = _fields(one, _SIGNATURE, optional=_SIGNATURE[:2])
        if fields is None:
            return None
        header, protected, signature = fields
        if type(signature) is not bytes or not (header is None or is_map(header)):
            return None
        if protected is not None and type(protected) is not bytes:
            return None
        first = protected if number == 0 else first
    return payload, len(signatures), None if first is None else capability_cid(first)


_ABSENT = BadLink()
"""Stands for a field that is not there."""


def _is_init_header(header: Cbor) -> bool:
    names = ("controllers", "sep", "model", "shouldIndex", "unique", "context", "modelVersion")
    fields = _fields(header, names, optional=names, least=3, absent=_ABSENT)
    if fields is None:
        return False
    # the field may be left out, but null is an error
    controllers = [] if fields[0] is _ABSENT else fields[0]
    sep, model, should_index, unique, context, model_version = (
        None if one is _ABSENT else one for one in fields[1:]
    )
    return (
        type(model) is bytes
        and isinstance(controllers, list | Items)
        and all(_text(one) is not None for one in controllers)
        and (sep is None or _text(sep) is not None)
        and (should_index is None or type(should_index) is bool)
        and all(one is None or type(one) is bytes for one in (unique, context))
        and (model_version is None or _cid(model_version) is not None)
    )


def _is_data_header(header: Cbor) -> bool:
    if header is None:
        return True
    names = ("shouldIndex", "modelVersion")
    fields = _fields(header, names, optional=names, least=0)
    if fields is None:
        return False
    should_index, model_version = fields
    return (should_index is None or type(should_index) is bool) and (
        model_version is None or _cid(model_version) is not None
    )


def _cid(content: Cbor) -> bytes | None:
    """The CID in a link, in bytes, or in a list of the numbers of bytes: the node takes all."""
    if type(content) is Link:
        return content
    if type(content) is bytes:
        return cid_at_start(content)
    if isinstance(content, Items):
        return cid_at_start(content.leading_bytes())
    if type(content) is list:
        numbers = [one for one in content if type(one) is int and 0 <= one < 1 << 8]
        return cid_at_start(bytes(numbers)) if len(numbers) == len(content) else None
    return None


def _text(content: Cbor) -> str | None:
    """A text, or bytes in UTF-8, which the node takes as well."""
    if type(content) is str:
        return content
    if type(content) is bytes:
        try:
            return content.decode()
        except ValueError:
            return None
    return None
