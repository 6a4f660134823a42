"""`--memory-limit` bounds the anonymous memory of all processes of a verification together."""

import re
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import CannotStartError
from flows.cli.synth import command as synth
from flows.verify.memory import OWN_BYTES, PROCESS_BYTES, amount, share_out
from tests.benchmarks.cgroup import inside, limited
from tests.benchmarks.measure import measured_run
from tests.flows.cli.test_verify import refused, run
from tests.support import program
from tests.support.other_programs import bytes_of
from tests.support.program import ceramic_order
from tests.support.world import store

STREAMS = [12_000, pytest.param(30_000, marks=pytest.mark.soak)]
"""Of 10 events each. With 120,000 events DuckDB writes files within the least limit; 300,000 take
more than that limit where nothing binds."""
LENGTH = 10
LEAST = "275MB"
ONE_PROCESS = "375MB"
"""From here on blocks are decoded in another process."""


@pytest.fixture(scope="module", params=STREAMS)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wholly delivered."""
    path = tmp_path_factory.mktemp("memory") / "db"
    synth.main(
        [
            str(path),
            f"--streams={request.param}",
            f"--delivered={request.param}",
            f"--length={LENGTH}",
            "--order=shuffled",
            "--quiet",
        ],
        standalone_mode=False,
    )
    return path


@pytest.mark.parametrize("limit", [LEAST, pytest.param(ONE_PROCESS, marks=pytest.mark.soak)])
def test_all_processes_together_stay_within_the_limit(database: Path, limit: str) -> None:
    measured = measured_run("verify", database, "--memory-limit", limit)
    assert measured.document["ok"]
    assert measured.anonymous_bytes < amount(limit)


@pytest.mark.soak
@pytest.mark.parametrize("database", [30_000], indirect=True)
def test_the_large_database_takes_more_where_nothing_binds(database: Path) -> None:
    assert measured_run("verify", database, "--memory-limit", "8GB").anonymous_bytes > 1.2 * amount(
        LEAST
    )


def test_what_can_not_be_kept_in_temporary_files_stops_it_with_a_way_out(
    database: Path, tmp_path: Path
) -> None:
    ended = program.run(
        ceramic_order("verify", database, "--memory-limit", LEAST, "--quiet"),
        code=3,
        environment={"TMPDIR": str(tmp_path)},
        limits={resource.RLIMIT_FSIZE: 1_000_000},
    )
    assert ended.out == ""
    assert "File too large" in ended.err
    assert "TMPDIR" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_too_little_is_refused_and_the_least_that_is_enough_is_named(tmp_path: Path) -> None:
    database = store(tmp_path / "db")
    least = re.search(r"at least `(\d+MB)`", refused(database, "--memory-limit", "274MB"))
    assert least is not None
    assert least[1] == LEAST
    assert run(database, "--memory-limit", LEAST).code == 0


@pytest.mark.parametrize(
    "text", ["much", "", "500", "-1GB", "1e3MB", "80%", "5 XB", "MB", "\N{SUPERSCRIPT TWO}GB"]
)
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(CannotStartError, match="no amount of memory"):
        amount(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500MB", 500_000_000),
        ("1.5gb", 1_500_000_000),
        ("2 GiB", 2 << 30),
        ("3MiB", 3 << 20),
        ("1TB", 10**12),
    ],
)
def test_an_amount_of_memory_has_a_number_and_a_unit(text: str, count: int) -> None:
    assert amount(text) == count


@given(st.integers(0, 10**13), st.integers(0, 10**10))
def test_shares_add_up_to_no_more_than_the_limit(limit: int, events: int) -> None:
    try:
        shares = share_out(limit, events)
    except CannotStartError as error:
        least = re.search(r"at least `(\d+MB)`", str(error))
        assert least is not None
        assert limit < amount(least[1])
        share_out(amount(least[1]), events)
        return
    assert OWN_BYTES + shares.processes * PROCESS_BYTES + shares.while_decoding <= limit
    assert OWN_BYTES + shares.afterwards <= limit
    assert shares.threads >= 1
    assert 0 < shares.while_decoding <= shares.afterwards


def test_more_events_need_more_memory() -> None:
    share_out(amount(LEAST), 1_000_000)
    with pytest.raises(CannotStartError, match="10,000,000 events"):
        share_out(amount(LEAST), 10_000_000)


def test_the_default_limit_is_one_that_this_process_can_have(tmp_path: Path) -> None:
    database = store(tmp_path / "db")
    before = bytes_of(tmp_path)
    with limited(200 * 1024 * 1024) as group:
        if group is None:
            pytest.skip("this machine lets nobody make a cgroup")
        verified = program.run(inside(group, ceramic_order("verify", database)), code=2)
        replay = ceramic_order("replay", database, "--out", tmp_path / "out")
        replayed = program.run(inside(group, replay), code=2)
    assert re.search(r"`157MB` of memory is too little .* at least `275MB`", verified.err)
    assert re.search(r"has `209MB` .* at least `275MB`, or use `--no-verify`", replayed.err)
    assert bytes_of(tmp_path) == before
