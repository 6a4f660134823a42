"""The order digest: equal where every stream has the same order, different elsewhere."""

from hashlib import sha256
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import InterruptedRunError
from connectors.log import ORDER
from flows.report.digest import order_digest

Row = tuple[str, str, str | None]
"""Stream, CID and prev of an event."""

TREE: list[Row] = [
    ("a", "a", None),
    ("a", "a1", "a"),
    ("a", "a2", "a1"),
    ("a", "a2 fork", "a1"),
    ("a", "a3", "a2"),
    ("b", "b1", "delivered before"),
    ("b", "b2", "b1"),
]


def digest(folder: Path, rows: list[Row], files: int = 1) -> str:
    """Of these events in this order."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    events = [
        {
            "delivered": number,
            "cid": cid.encode(),
            "stream": stream.encode(),
            "prev": prev and prev.encode(),
            "kind": "data",
            "rowid": 0,
        }
        for number, (stream, cid, prev) in enumerate(rows, 41)
    ]
    for index in range(files):
        pq.write_table(
            pa.Table.from_pylist(events[index::files], schema=ORDER),
            folder / f"order-{index:05}.parquet",
        )
    found = order_digest(folder, folder)
    assert len(bytes.fromhex(found)) == 32
    return found


def test_interleaving_and_siblings_do_not_count(tmp_path: Path) -> None:
    expected = digest(tmp_path, TREE)
    assert digest(tmp_path, [TREE[row] for row in (5, 0, 1, 3, 6, 2, 4)]) == expected


def test_how_the_order_is_cut_into_files_does_not_count(tmp_path: Path) -> None:
    assert digest(tmp_path, TREE, files=3) == digest(tmp_path, TREE)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    assert digest(tmp_path / "[1]*?'", TREE) == digest(tmp_path / "plain", TREE)


@pytest.mark.parametrize(("one", "other"), list(combinations(range(len(TREE)), 2)))
def test_two_swapped_events_are_another_digest_if_a_child_then_comes_before_its_parent(
    tmp_path: Path, one: int, other: int
) -> None:
    rows = list(TREE)
    rows[one], rows[other] = rows[other], rows[one]
    place = {cid: at for at, (_, cid, _) in enumerate(rows)}
    parents_first = all(place.get(prev, -1) < place[cid] for _, cid, prev in rows if prev)
    assert (digest(tmp_path, rows) == digest(tmp_path, TREE)) == parents_first


@pytest.mark.parametrize("row", range(len(TREE)))
def test_another_stream_or_prev_of_any_event_is_another_digest(tmp_path: Path, row: int) -> None:
    stream, cid, prev = TREE[row]
    changed = [
        ("c", cid, prev),
        (stream, cid, "c"),
        (stream, "c", prev),
        (stream, cid, None if prev else "a"),
    ]
    digests = {digest(tmp_path, [*TREE[:row], event, *TREE[row + 1 :]]) for event in changed}
    assert len(digests | {digest(tmp_path, TREE)}) == 1 + len(changed)


@pytest.mark.parametrize("row", range(len(TREE)))
def test_an_event_less_or_twice_is_another_digest(tmp_path: Path, row: int) -> None:
    digests = {
        digest(tmp_path, TREE),
        digest(tmp_path, TREE[:row] + TREE[row + 1 :]),
        digest(tmp_path, [*TREE, TREE[row]]),
    }
    assert len(digests) == 3


def test_an_order_without_events_has_a_digest(tmp_path: Path) -> None:
    assert digest(tmp_path, []) == "0" * 64


def test_the_digest_is_the_documented_sum(tmp_path: Path) -> None:
    rows = [("a", "a", None), ("a", "c", "b"), ("a", "b", "a")]
    hashes = [sha256(text).digest() for text in (b"aa-", b"acb0", b"aba1")]
    sums = [
        sum(int.from_bytes(one[at : at + 8]) for one in hashes) % 2**64 for at in range(0, 32, 8)
    ]
    assert digest(tmp_path, rows) == "".join(f"{part:016x}" for part in sums)


def test_a_log_that_can_not_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "order-00000.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(
        InterruptedRunError, match=r"Reading the new log failed: .* No part of it was left"
    ):
        order_digest(tmp_path, tmp_path)
