"""Batches of any Arrow producer: cast to the schema of a step, or refused by a column's name."""

from collections.abc import Sequence
from typing import Any

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import TestingSink, TestingSource

from operators.decode import decode
from operators.order import order
from operators.schemas import BLOCKS, DATA, INIT, LINKS, RAW, Page, as_schema
from tests.support.blocks import batch_of, valid
from tests.support.job import run_flow

TEXTS = ["one@example.com", "two@example.com", "three@example.com"]
TYPES = [
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.string(),
    pa.large_string(),
    pa.string_view(),
]


def encoded(values: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Texts as values of this type of bytes or text."""
    is_text = "string" in str(kind)
    given = [value if is_text or value is None else value.encode() for value in values]
    return pa.array(given, kind)


def links_of(
    kind: pa.DataType, *, dictionary: bool = False, sliced: bool = False
) -> pa.RecordBatch:
    """A stream of three events, each the parent of the next, as another program may give it."""

    def column(values: Sequence[str | None]) -> pa.Array:
        if not dictionary:
            return encoded(values, kind)
        places = [None if value is None else TEXTS.index(value) for value in values]
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.uint32()), encoded(TEXTS, kind))

    batch = pa.record_batch(
        {
            "subject": pa.array(["a", "b", "c"]),
            "kind": pa.array([INIT, DATA, DATA], pa.uint64()),
            "prev": column([None, *TEXTS[:2]]),
            "stream": column([TEXTS[0]] * 3),
            "cid": column([*TEXTS]),
            "rowid": pa.array([7, 8, 9], pa.int32()),
        }
    )
    return pa.concat_batches([batch, batch]).slice(3) if sliced else batch


EXPECTED = pa.record_batch(
    [[7, 8, 9], TEXTS, TEXTS[:1] * 3, [None, *TEXTS[:2]], [INIT, DATA, DATA]], schema=LINKS
)


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_columns_are_found_by_name_and_cast(
    kind: pa.DataType, *, dictionary: bool, sliced: bool
) -> None:
    given = links_of(kind, dictionary=dictionary, sliced=sliced)
    cast = as_schema(given, LINKS)
    cast.validate(full=True)
    assert cast == EXPECTED
    table = pa.Table.from_batches([given, given])
    assert as_schema(table, LINKS) == pa.Table.from_batches([EXPECTED, EXPECTED])


def test_a_batch_of_the_schema_is_not_even_copied() -> None:
    assert as_schema(EXPECTED, LINKS) is EXPECTED


def with_column(name: str, values: Any) -> pa.RecordBatch:
    at = EXPECTED.schema.get_field_index(name)
    return EXPECTED.set_column(at, name, values)


WRONG = {
    "the column `cid` is missing: the batch has `rowid`, `stream`, `prev`, `kind`": (
        EXPECTED.drop_columns(["cid"])
    ),
    "the column `kind` is there more than once": EXPECTED.append_column("kind", EXPECTED["kind"]),
    "the column `rowid` is of type `double`, which can't be cast to `int64`": (
        with_column("rowid", pa.array([1.0, 2.0, 3.0]))
    ),
    "the column `cid` is of type `int64`, which can't be cast to `binary`": (
        with_column("cid", EXPECTED["rowid"])
    ),
    "the column `kind` can't be cast from `int64` to `int8`: ": (
        with_column("kind", pa.array([0, 2, 300]))
    ),
    "the column `stream` has a null, and must not have one": with_column(
        "stream", EXPECTED["prev"]
    ),
    "the column `prev` is of type `list<item: int64>`": with_column(
        "prev", pa.array([[1], [], []])
    ),
    "expected Arrow record batches, got `dict`": EXPECTED.to_pydict(),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_cannot_be_cast_is_refused_by_the_name_of_the_column(said: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 # the whole sentence is compared
        as_schema(WRONG[said], LINKS)
    assert said in str(raised.value)


def ordered_of(batch: Any) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    ordered: list[pa.RecordBatch] = []
    left: list[pa.RecordBatch] = []
    flow = Dataflow("order")
    out = order("order", op.input("in", flow, TestingSource([batch])))
    op.output("ordered", out.ordered, TestingSink(ordered))
    op.output("left", out.left, TestingSink(left))
    run_flow(flow, 1)
    return ordered, left


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_order_gives_the_same_answer_whatever_the_types(kind: pa.DataType) -> None:
    ordered, left = ordered_of(links_of(kind))
    assert pa.Table.from_batches(ordered)["rowid"].to_pylist() == [7, 8, 9]
    assert left == []


def test_order_refuses_what_it_cannot_cast() -> None:
    with pytest.raises(BytewaxRuntimeError) as raised:
        ordered_of(with_column("cid", EXPECTED["rowid"]))
    causes = [str(raised.value.__cause__), str(getattr(raised.value.__cause__, "__cause__", ""))]
    assert any("the column `cid` is of type `int64`" in cause for cause in causes)


def test_decode_gives_the_same_answer_whatever_the_types() -> None:
    raw = batch_of(valid())
    names = raw.schema.names[::-1]
    large = pa.schema(
        pa.field(name, pa.large_binary() if name != "rowid" else pa.int32()) for name in names
    )
    other_blocks = BLOCKS.empty_table().cast(
        pa.schema([(name, pa.large_binary()) for name in BLOCKS.names])
    )
    found: list[list[pa.RecordBatch]] = []
    for page in (Page(raw), Page(raw.select(names).cast(large), other_blocks)):
        links: list[pa.RecordBatch] = []
        flow = Dataflow("decode")
        out = decode("decode", op.input("in", flow, TestingSource([page])))
        op.output("links", out.links, TestingSink(links))
        op.output("rejected", out.rejected, TestingSink([]))
        run_flow(flow, 1)
        found.append(links)
    assert sum(batch.num_rows for batch in found[0]) == raw.num_rows
    assert found[0] == found[1]
    assert raw.schema == RAW
