"""The set of delivered init events, in memory and in files, knows every CID that it holds."""

from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from operators.delivered import DeliveredInits
from operators.encoding.layouts import CBOR_CID, JOSE_CID


def cids(rng: Random, count: int) -> list[bytes]:
    """CIDs of both forms; many have halves of their digests in common."""
    halves = [rng.randbytes(8) for _ in range(40)]
    return [
        rng.choice([CBOR_CID, JOSE_CID]) + rng.choice(halves) + rng.choice(halves) + bytes(16)
        for _ in range(count)
    ]


@pytest.mark.parametrize("budget_bytes", [0, 1000, 1 << 20])
def test_the_set_holds_what_was_added_and_nothing_else(tmp_path: Path, budget_bytes: int) -> None:
    rng = Random(1)
    held = DeliveredInits(budget_bytes, lambda: tmp_path)
    added = cids(rng, 500)
    for at in range(0, 500, 50):
        assert held.add(pa.array(added[at : at + 50], pa.binary()))
    held.seal()
    odd = [b"", b"\x01\x55" + added[0][2:], added[0][:-1], added[0] + b"\x00"]
    asked = [*cids(rng, 3000), *added, *odd]
    assert held.holds(pa.array(asked, pa.binary())).tolist() == [cid in added for cid in asked]
    assert bool(list(tmp_path.iterdir())) == (budget_bytes < 8000)


def test_what_is_not_in_the_usual_form_is_left_out() -> None:
    held = DeliveredInits(1 << 20)
    odd = pa.array([b"", b"\x01\x55\x12\x20" + bytes(32)], pa.binary())
    held.add(odd)
    held.seal()
    assert not held.holds(odd).any()


def test_without_a_folder_a_set_that_is_too_large_says_so() -> None:
    held = DeliveredInits(160)
    assert held.add(pa.array(cids(Random(1), 10), pa.binary()))
    assert not held.add(pa.array(cids(Random(2), 10), pa.binary()))


def test_an_empty_set_holds_nothing(tmp_path: Path) -> None:
    for folder in (None, lambda: tmp_path):
        held = DeliveredInits(0, folder)
        held.seal()
        assert not held.holds(pa.array(cids(Random(1), 5), pa.binary())).any()
