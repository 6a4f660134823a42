"""The store of shared blocks: what is put in is found, until there is too much of it."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.check.store import BYTES_A_BLOCK, NONE, BlockStore
from operators.check.usual import USUAL
from operators.partitions import PARTITIONS, PartitionedFiles


def records(numbers: list[int]) -> NDArray[np.void]:
    """Blocks whose keys differ now in one word, now in the other."""
    made = np.zeros(len(numbers), dtype=USUAL)
    made["key"] = [(number // 2, number % 2) for number in numbers]
    made["items"][:, 0, 0] = numbers
    made["form"] = 1
    return made


def in_files(files: PartitionedFiles) -> set[int]:
    parts = [files.read(part) for part in range(PARTITIONS)]
    return {int(number) for part in parts for number in part["items"][:, 0, 0]}


def numbers_of(store: BlockStore, rows: NDArray[np.int32]) -> list[int | None]:
    return [None if row == NONE else int(store.items[row, 0, 0]) for row in rows]


@pytest.mark.parametrize("seed", range(10))
def test_every_block_is_kept_or_written(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    files = PartitionedFiles(lambda: tmp_path, "blocks", USUAL)
    store = BlockStore(500 * BYTES_A_BLOCK, files)
    put_in: set[int] = set()
    for _ in range(50):
        some = [rng.randrange(5000) for _ in range(rng.randrange(1, 200))]
        store.turn_page(len(some))
        store.add(records(some + some[:5]))
        put_in.update(some)
        store.use(store.find(records(some)["key"]))
        everything = sorted(put_in)
        found = numbers_of(store, store.find(records(everything)["key"]))
        kept = [number for number in found if number is not None]
        assert all(number in {None, own} for number, own in zip(found, everything, strict=True))
        assert len(kept) == store.kept <= store.capacity
        assert set(kept) | in_files(files) == put_in
        assert set(some) <= set(kept)
    assert files.rows


def test_what_was_not_wanted_for_longest_goes_first() -> None:
    store = BlockStore(100 * BYTES_A_BLOCK)
    store.turn_page(60)
    store.add(records(list(range(60))))
    for page in range(20):
        store.turn_page(30)
        store.use(store.find(records([7, 8])["key"]))
        store.add(records(list(range(100 + 30 * page, 130 + 30 * page))))
    assert numbers_of(store, store.find(records([7, 8, 9])["key"])) == [7, 8, None]


def test_a_child_is_found_wherever_it_has_moved() -> None:
    store = BlockStore(100 * BYTES_A_BLOCK)
    parents, children = records(list(range(20))), records(list(range(1000, 1020)))
    parents["items"][:, 1] = children["key"]
    step = np.ones(20, dtype=np.uint8)
    store.turn_page(40)
    store.add(records(list(range(500, 530))))
    store.add(parents)
    assert (store.child(store.find(parents["key"]), step) == NONE).all()
    store.add(children)
    for page in range(3):
        store.turn_page(0)
        rows = store.child(store.find(parents["key"]), step)
        assert numbers_of(store, rows) == list(range(1000, 1020))
        store.use(rows)
        store.use(store.find(parents["key"]))
        store.turn_page(60)
        store.add(records(list(range(2000 + 30 * page, 2030 + 30 * page))))


def test_more_than_there_is_room_for_is_written_at_once(tmp_path: Path) -> None:
    files = PartitionedFiles(lambda: tmp_path, "blocks", USUAL)
    store = BlockStore(0, files)
    store.turn_page(1000)
    store.add(records(list(range(1000))))
    assert store.kept == store.capacity
    assert len(in_files(files)) == files.rows == 1000 - store.capacity
