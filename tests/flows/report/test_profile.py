"""The profile of a run has every stage, counts nothing twice, and needs a writable file."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import InterruptedRunError
from flows.report.profile import MOST_SLOTS, Profile, Timeline, write_profile
from tests.flows.cli.test_run import run, run_json
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of

STAGES = {
    "read",
    "decode",
    "check",
    "split",
    "order",
    "look-up",
    "write",
    "commit",
    "checkpoint",
    "close",
    "count",
}

NOISE_SECONDS = 0.005
"""Between reading two clocks, for each call."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Thirty streams of a hundred events, and one event that waits."""
    folder = tmp_path / "store"
    folder.mkdir()
    events = [event for seed in range(30) for event in chain(100, seed)]
    return store(folder / "node.db", [*events, *chain(3, 99)[2:]])


def profile_of(path: Path, file: Path, *options: str) -> dict[str, Any]:
    document = run_json(path, "--profile", file, *options)
    profile: dict[str, Any] = json.loads(file.read_text())
    assert profile["run"] == document
    return profile


def test_a_profile_holds_every_stage_with_all_rows(path: Path, tmp_path: Path) -> None:
    profile = profile_of(path, tmp_path / "profile.json", "--partitions", "2")
    stages = profile["stages"]
    assert set(stages) == STAGES
    discovered, delivered = profile["run"]["discovered"], profile["run"]["delivered"]
    assert (discovered, delivered) == (30 * 99 + 1, 30 * 99)
    assert {
        name: stages[name]["rows"] for name in ("read", "decode", "check", "split", "order")
    } == dict.fromkeys(("read", "decode", "check", "split", "order"), discovered)
    assert stages["write"]["rows"] == stages["commit"]["rows"] == delivered
    # a partition has a call that finds nothing more
    assert stages["read"]["calls"] == stages["decode"]["calls"] + 2
    assert (
        stages["read"]["first_done"]
        < stages["decode"]["first_done"]
        < stages["order"]["first_done"]
        < stages["write"]["first_done"]
    )


def test_no_time_is_counted_twice(path: Path, tmp_path: Path) -> None:
    profile = profile_of(path, tmp_path / "profile.json")
    for name, stage in profile["stages"].items():
        assert stage["cpu_seconds"] <= stage["seconds"] + NOISE_SECONDS * stage["calls"], name
    # with one worker these are done by one thread
    flow = sum(
        profile["stages"][name]["seconds"]
        for name in ("decode", "check", "split", "order", "look-up")
    )
    assert flow <= profile["seconds"]
    assert profile["cpu_seconds"] == pytest.approx(
        profile["outside_stages_cpu_seconds"]
        + sum(stage["cpu_seconds"] for stage in profile["stages"].values()),
        abs=1e-4,
    )
    assert profile["cores"] == pytest.approx(profile["cpu_seconds"] / profile["seconds"], rel=0.01)


def test_the_timeline_holds_the_seconds_of_the_stages(path: Path, tmp_path: Path) -> None:
    profile = profile_of(path, tmp_path / "profile.json")
    timeline = profile["timeline"]
    slots = len(timeline["cpu_seconds"])
    assert (
        (slots - 1) * timeline["slot_seconds"]
        <= profile["seconds"]
        <= slots * timeline["slot_seconds"]
    )
    assert sum(timeline["cpu_seconds"]) == pytest.approx(profile["cpu_seconds"], abs=1e-3)
    for name, busy in timeline["busy_seconds"].items():
        assert len(busy) == slots
        assert sum(busy) == pytest.approx(profile["stages"][name]["seconds"], abs=1e-3)


def test_what_is_not_done_is_no_stage(path: Path, tmp_path: Path) -> None:
    dry = profile_of(path, tmp_path / "profile.json", "--dry-run", "--check", "links")
    assert set(dry["stages"]) == {"read", "decode", "split", "order", "look-up"}
    assert dry["stages"]["order"]["rows"] == dry["run"]["discovered"]


def test_people_see_it_with_the_summary_unless_quiet(path: Path, tmp_path: Path) -> None:
    out, err = run(path, "--profile", tmp_path / "profile.json")
    assert "Where the time went" in out
    assert all(stage in out for stage in STAGES)
    assert err == ""
    out, _ = run(path, "--profile", tmp_path / "profile.json", "--quiet")
    assert "discovered" in out
    assert "Where the time went" not in out


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda store: store / "none" / "profile.json", "No such file"),
        (lambda store: store / "node.db" / "profile.json", "Not a directory"),
        (lambda store: store, "is a directory"),
        (lambda store: store / "node.db", "belongs to the database"),
        (lambda store: store / "node.db-wal", "belongs to the database"),
        (lambda store: store.parent / "link", "belongs to the database"),
        (lambda _: Path("/dev/full"), "no regular file"),
    ],
)
def test_an_unwritable_file_is_reported_before_the_run(
    path: Path, tmp_path: Path, place: Callable[[Path], Path], reason: str
) -> None:
    (tmp_path / "link").symlink_to(path)
    before = bytes_of(tmp_path)
    _, err = run(path, "--profile", place(path.parent), code=2)
    assert reason in err
    assert bytes_of(tmp_path) == before


def test_a_run_that_can_not_start_leaves_an_older_profile(path: Path, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text("older")
    path.chmod(0o444)
    before = bytes_of(tmp_path)
    run(path, "--profile", tmp_path / "profile.json", code=2)
    assert bytes_of(tmp_path) == before


def test_a_profile_that_can_not_be_written_in_the_end_says_that_the_run_is_complete(
    tmp_path: Path,
) -> None:
    with pytest.raises(InterruptedRunError, match="The run is complete"):
        write_profile(tmp_path / "gone" / "profile.json", {})


def test_a_stage_within_another_counts_as_its_own() -> None:
    profile = Profile()
    with profile.measure("outer", 5):
        with profile.measure("inner", 3) as measured:
            time.sleep(0.05)
            measured.rows = 4
        with profile.measure("inner", 3):
            pass
    document = profile.to_json()
    outer, inner = document["stages"]["outer"], document["stages"]["inner"]
    assert (outer["calls"], outer["rows"], inner["calls"], inner["rows"]) == (1, 5, 2, 7)
    assert outer["seconds"] < inner["seconds"]
    assert outer["seconds"] + inner["seconds"] <= document["seconds"]
    # sleeping takes no processor
    assert inner["cpu_seconds"] < inner["seconds"]


def test_threads_are_measured_apart_and_added_up() -> None:
    profile, together = Profile(), threading.Barrier(3)

    def sleep() -> None:
        with profile.measure("sleep", 1):
            # all are in the stage at the same time, however long each takes to start
            together.wait()
            time.sleep(0.1)

    with profile.measure("all", 1):
        threads = [threading.Thread(target=sleep) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    document = profile.to_json()
    asleep, whole = document["stages"]["sleep"], document["stages"]["all"]
    assert asleep["first_done"] is not None
    assert asleep["seconds"] > whole["seconds"] > asleep["first_done"] / 2


def test_what_fails_is_measured_too() -> None:
    profile = Profile()
    with pytest.raises(KeyError), profile.measure("fails", 1):
        raise KeyError
    with profile.measure("goes on", 1):
        pass
    assert {name: stage["calls"] for name, stage in profile.to_json()["stages"].items()} == {
        "fails": 1,
        "goes on": 1,
    }


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 1)), min_size=1))
def test_a_timeline_keeps_all_seconds_in_few_slots(spans: list[tuple[float, float, float]]) -> None:
    timeline = Timeline()
    for one, other, share in spans:
        start, end = sorted((one, other))
        timeline.add("stage", start, end, share * (end - start))
    busy = timeline.to_json()["busy_seconds"]["stage"]
    assert len(busy) <= MOST_SLOTS
    assert sum(busy) == pytest.approx(
        sum(share * abs(one - other) for one, other, share in spans), abs=1e-3
    )
    latest = max(max(one, other) for one, other, _ in spans)
    assert (len(busy) - 1) * timeline.slot_seconds <= latest + 1e-6
    assert latest <= len(busy) * timeline.slot_seconds + 1e-6
    assert all(seconds <= len(spans) * timeline.slot_seconds + 1e-6 for seconds in busy)
