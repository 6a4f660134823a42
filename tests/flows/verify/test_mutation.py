"""Of random changes of `delivered`, each that breaks a promise is found, by its rule."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from flows.synth.database import write_database
from flows.synth.streams import Population
from flows.verify.verify import verify
from tests.support.oracle import Contents, deliverable, read
from tests.support.world import change, copy, deliver, literal, without_unique_numbers

CHANGES = 15
"""For each seed; a verification takes a third of a second."""

Numbers = Mapping[bytes, int | None]


def broken(before: Contents, numbers: Numbers) -> set[str]:
    """The rules that these numbers break, by the links alone; damage in `before` is old."""
    old = {cid: number for cid, number in before.numbers.items() if number is not None}
    new = {cid: number for cid, number in numbers.items() if number is not None and cid not in old}
    times = Counter(numbers.values())
    above = {cid: numbers.get(prev) for cid in new if (prev := before.places[cid].prev) is not None}
    found = {
        "number-valid": any(number < 1 for number in new.values()),
        "number-unique": any(times[number] > 1 for number in new.values()),
        "parent-delivered": None in above.values(),
        "parent-first": any(
            number is not None and new[cid] < number for cid, number in above.items()
        ),
        "nothing-left": bool(deliverable(Contents(dict(numbers), before.places, {}))),
        "old-number-kept": any(numbers[cid] != number for cid, number in old.items()),
        "new-number-above": any(number <= before.highest for number in new.values()),
    }
    return {rule for rule, is_broken in found.items() if is_broken}


@pytest.mark.parametrize("seed", range(3))
def test_each_change_of_a_number_that_breaks_a_promise_is_found(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    write_database(
        tmp_path / "before",
        Population(streams=8, length=12, forks=0.4, missing=0.05, seed=seed),
        "shuffled",
        lambda _: None,
    )
    baseline = without_unique_numbers(tmp_path / "before")
    right = deliver(copy(baseline, "right"))
    before, numbers = read(baseline), read(right).numbers
    assert verify(right, baseline=baseline).is_good
    for attempt in range(CHANGES):
        cid = random.choice(sorted(numbers))
        wanted = random.choice(
            [
                None,
                0,
                random.randrange(1, 120),
                random.choice([number for number in numbers.values() if number]),
            ]
        )
        expected = broken(before, {**numbers, cid: wanted})
        new_number = "NULL" if wanted is None else str(wanted)
        # values of our own
        statement = (
            f"UPDATE ceramic_one_event SET delivered = {new_number} WHERE cid = {literal(cid)}"
        )
        verification = verify(change(copy(right, "changed"), statement), baseline=baseline)
        assert verification.failed == expected, (
            f"seed {seed}, change {attempt}: {numbers[cid]} to {wanted} at {cid.hex()}"
        )
