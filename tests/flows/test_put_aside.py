"""A run whose check has no memory does what a run with enough of it does."""

from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from connectors.sqlite import connect, execute
from flows.lookups import LookUpSettings
from flows.synth.events import Event
from flows.synth.streams import Population, grow
from operators.check.later import AsideLimits
from tests.support.job import deliver, store
from tests.support.oracle import read

NO_MEMORY = AsideLimits(look_ups_at_once=0, look_ups_a_page=0, settle_events=50)


@pytest.mark.parametrize(("workers", "limits"), [(1, NO_MEMORY), (2, AsideLimits(0, 0))])
def test_what_is_put_aside_is_delivered_or_rejected_all_the_same(
    tmp_path: Path, workers: int, limits: AsideLimits
) -> None:
    grown = list(grow(Population(streams=60, length=10, forks=0.2, seed=workers)))
    Random(1).shuffle(grown)
    delivered = [one.delivered for one in grown]
    shared = sorted(
        {one.multihash for event, *_ in grown for one in event.blocks[1:] if not one.is_root}
    )
    lost = Random(2).sample(shared, 5)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    paths = [
        _store(tmp_path / name, [one.event for one in grown], delivered, lost)
        for name in ("plenty", "none")
    ]
    plenty = deliver(paths[0], workers=workers, partitions=workers)
    none = deliver(
        paths[1],
        workers=workers,
        partitions=workers,
        look_ups=LookUpSettings(0, lambda: scratch, limits),
    )
    assert none.reasons == plenty.reasons
    assert plenty.reasons
    assert none.delivered == plenty.delivered > 300
    of_plenty, of_none = (
        {cid for cid, number in read(path).numbers.items() if number is not None} for path in paths
    )
    assert of_none == of_plenty
    assert any(scratch.iterdir())


def _store(path: Path, events: list[Event], delivered: list[int | None], lost: list[bytes]) -> Path:
    """A database without the lost blocks."""
    with closing(connect(store(path, events, delivered), "rw")) as connection:
        execute(connection, "PRAGMA foreign_keys=OFF")
        for key in lost:
            execute(connection, f"DELETE FROM ceramic_one_block WHERE multihash = x'{key.hex()}'")
    return path
