"""A cluster of three machines: networks, host names and folders of their own, on one kernel."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import pytest

from tests.flows.cluster.conftest import Sample
from tests.support import program
from tests.support.cluster import PATIENCE, await_connections, command_of, ended, order_of
from tests.support.machines import NAMES, Machine, lacking, machines
from tests.support.other_programs import bytes_of, execute_elsewhere
from tests.support.program import python

pytestmark = pytest.mark.soak

PLACES = ("zero:2101", "one:2102", "two:2103")
WANTED_SECONDS = 10
"""Within which each process of a cluster that is set up wrongly is to end with a sentence."""


class Site(NamedTuple):
    """Three machines, each with a copy of the database at the same path."""

    machines: dict[str, Machine]
    """By name: zero, one, two."""
    folder: Path
    """Of the folders that the machines have, by name."""
    path: Path
    """Of the database or its copy, on each machine."""

    def copy(self, name: str) -> Path:
        """The database or copy of one machine, as it is seen from outside."""
        return self.folder / name / self.path.name

    def flow(self, **options: object) -> str:
        """The flow of each process."""
        return order_of(self.path, **options)

    def start(self, flow: str, places: Sequence[str] = PLACES) -> list[Popen[str]]:
        """Start a process on each machine."""
        return [
            program.start(machine.command(*command_of(at, flow, places)))
            for at, machine in enumerate(self.machines.values())
        ]


@pytest.fixture
def site(sample: Sample, tmp_path: Path) -> Iterator[Site]:
    """Three machines, where this one allows it."""
    if (reason := lacking()) is not None:
        pytest.skip(reason)
    (tmp_path / "data").mkdir()
    for name in NAMES:
        sample.copy(tmp_path / name)
    with machines(tmp_path, tmp_path / "data") as found:
        yield Site(
            dict(zip(NAMES, found, strict=True)), tmp_path, tmp_path / "data" / sample.path.name
        )


def test_three_machines_do_what_one_process_does(sample: Sample, site: Site) -> None:
    copies = [bytes_of(site.copy(name).parent) for name in NAMES[1:]]
    found = ended(site.start(site.flow(wait_seconds=PATIENCE)))
    assert [each.code for each in found] == [0, 0, 0], found
    assert [bytes_of(site.copy(name).parent) for name in NAMES[1:]] == copies
    assert sample.digest(site.copy("zero")) == sample.wanted


def name_server_that_does_not_answer(site: Site) -> None:
    site.machines["zero"].drop_from(site.machines["two"])
    servers = site.folder / "resolv.conf"
    servers.write_text(f"nameserver {site.machines['zero'].address}\n")
    site.machines["two"].run(f"mount --bind {servers} /etc/resolv.conf")


def newer_copy(site: Site) -> None:
    newer = "UPDATE ceramic_one_event SET delivered = 999999 WHERE rowid = 9000"
    execute_elsewhere(site.copy("one"), newer)


class Fault(NamedTuple):
    """What is wrong, and how the sentences of the three processes begin."""

    said: tuple[str, str, str]
    places: Sequence[str] = PLACES
    done: Callable[[Site], None] = lambda _: None


ABSENT = "Process `0` is not there: for `7` seconds nobody answered at "
CAN_NOT_LISTEN = "Process `{}` can't listen at its address `{}`: "
CAN_NOT_START = "Process `1` at `{}` can't start: "
FAULTS = {
    "process 0 does not answer process 2": Fault(
        (
            "Process `2` at `two:2103` is not there: process `0` waited for `7` seconds at `10.",
            "Process `2` at `two:2103` is not there: process `0` waited for `7` seconds at `10.",
            f"{ABSENT}`zero:2101`: timed out. ",
        ),
        done=lambda site: site.machines["zero"].drop_from(site.machines["two"]),
    ),
    "process 1 does not answer process 2": Fault(
        (
            "Process `2` at `two:2103` can't start: Process `2` can't reach process `1` at `one:2",
            "Process `2` at `two:2103` can't start: Process `2` can't reach process `1` at `one:2",
            "Process `2` can't reach process `1` at `one:2102`: timed out. Nothing was changed. ",
        ),
        done=lambda site: site.machines["one"].drop_from(site.machines["two"]),
    ),
    "process 0 is on another machine": Fault(
        (
            CAN_NOT_LISTEN.format(0, "two:2101") + "Cannot assign requested address. Nothing was",
            f"{ABSENT}`two:2101`: Connection refused. ",
            f"{ABSENT}`two:2101`: Connection refused. ",
        ),
        ("two:2101", *PLACES[1:]),
    ),
    "process 1 is on another machine": Fault(
        (
            CAN_NOT_START.format("two:2102") + CAN_NOT_LISTEN.format(1, "two:2102"),
            CAN_NOT_LISTEN.format(1, "two:2102") + "Cannot assign requested address. Nothing was",
            CAN_NOT_START.format("two:2102") + CAN_NOT_LISTEN.format(1, "two:2102"),
        ),
        ("zero:2101", "two:2102", "two:2103"),
    ),
    "nobody knows the name of process 0": Fault(
        (
            CAN_NOT_LISTEN.format(0, "nowhere:2101"),
            f"{ABSENT}`nowhere:2101`: ",
            f"{ABSENT}`nowhere:2101`: ",
        ),
        ("nowhere:2101", *PLACES[1:]),
    ),
    "no name server answers": Fault(
        (
            CAN_NOT_LISTEN.format(0, "nowhere:2101"),
            f"{ABSENT}`nowhere:2101`: ",
            f"{ABSENT}`nowhere:2101`: no name server says what `nowhere` is. Nothing was ",
        ),
        ("nowhere:2101", *PLACES[1:]),
        name_server_that_does_not_answer,
    ),
    "a copy of another state": Fault(
        (
            CAN_NOT_START.format("one:2102") + "`",
            "`",
            CAN_NOT_START.format("one:2102") + "`",
        ),
        done=newer_copy,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_where_machines_do_not_fit_all_end_with_a_sentence(name: str, site: Site) -> None:
    fault = FAULTS[name]
    fault.done(site)
    held = [bytes_of(site.copy(each).parent) for each in NAMES]
    started = time.monotonic()
    found = ended(site.start(site.flow(), fault.places))
    seconds = time.monotonic() - started
    print(f"{name}: all ended after {seconds:.1f} s, wanted {WANTED_SECONDS}")  # noqa: T201
    for each, said in zip(found, fault.said, strict=True):
        assert each.code == 2, found
        assert each.err.startswith(f"Error: {said}"), each
    assert [bytes_of(site.copy(each).parent) for each in NAMES] == held


@pytest.mark.parametrize("name", NAMES)
def test_where_a_machine_vanishes_midway_all_end_and_a_rerun_finishes(
    name: str, sample: Sample, site: Site
) -> None:
    processes = site.start(site.flow(wait_seconds=PATIENCE, batch_rows=500))
    await_connections(processes, PLACES[0], 4)
    site.machines[name].unplug()
    started = time.monotonic()
    found = ended(processes)
    print(f"{name} vanished: all ended after {time.monotonic() - started:.1f} s")  # noqa: T201
    for each in found:
        assert each.code == 1, found
        assert " is gone: it was killed, or its machine or the network failed. " in each.err, each
    check_rerun(sample, site)


def check_rerun(sample: Sample, site: Site) -> None:
    path = site.copy("zero")
    program.run(python("-m", "bytewax.run", order_of(path)))
    assert sample.digest(path) == sample.wanted


def test_a_cable_that_is_drawn_for_a_moment_stops_nothing(sample: Sample, site: Site) -> None:
    processes = site.start(site.flow(wait_seconds=PATIENCE))
    await_connections(processes, PLACES[0], 4)
    site.machines["two"].unplug()
    time.sleep(2)
    site.machines["two"].plug()
    found = ended(processes)
    assert [each.code for each in found] == [0, 0, 0], found
    assert sample.digest(site.copy("zero")) == sample.wanted
