"""The page shows what is in the log, needs no network, and a browser draws all its pictures."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from flows.jobs.replay import replay
from flows.jobs.run import RunOptions
from flows.report.counts import Bar, Facts, LogFacts, RowidBin, log_facts
from flows.report.output_file import require_place
from flows.report.pace import Sample
from flows.report.page import page, write_page
from flows.synth.database import write_database
from flows.synth.streams import Population
from operators.encoding.cid import cid_text
from tests.support.job import chain, store
from tests.support.program import ROOT

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PACE = [Sample(0.0, 0, 0), Sample(1.0, 10, 5), Sample(2.0, 12, 12)]
FACTS = Facts(
    "Replay of <b>&.db",
    {"snapshot": "/data/<b>&.db"},
    12,
    {"prev missing": 2},
    {"not DAG-CBOR": 1},
    PACE,
    None,
)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Facts]:
    """A log of streams with forks and gaps, and what its page shows."""
    folder = tmp_path_factory.mktemp("page")
    write_database(
        folder / "node.db",
        Population(streams=30, length=20, forks=0.4, missing=0.02, seed=3),
        "shuffled",
    )
    done = replay(folder / "node.db", folder / "log", RunOptions(), counted=True)
    return folder / "log", done.facts()


def test_it_counts_what_is_in_the_log(replayed: tuple[Path, Facts]) -> None:
    folder, facts = replayed
    assert facts.log is not None
    order = pq.read_table(folder / "order-00000.parquet").to_pylist()
    of_stream = Counter(row["stream"] for row in order)
    children = Counter(row["prev"] for row in order if row["prev"] is not None)
    assert sum(bar.height for bar in facts.log.lengths) == len(of_stream)
    assert {bar.label: bar.height for bar in facts.log.lengths}["17 to 32"] == sum(
        16 < events <= 32 for events in of_stream.values()
    )
    assert sum(bar.height for bar in facts.log.forks) == sum(
        count > 1 for count in children.values()
    )
    assert facts.log.forks[0] == Bar("2", sum(count == 2 for count in children.values()))
    assert dict(facts.log.longest) == dict(
        sorted(of_stream.items(), key=lambda item: (-item[1], item[0]))[:10]
    )
    assert sum(one.delivered for one in facts.log.rowids) == len(order) == facts.delivered
    assert sum(one.waiting for one in facts.log.rowids) == sum(facts.waiting.values()) > 0


def test_every_row_is_in_the_bin_where_it_lies(tmp_path: Path) -> None:
    lowest, highest = -(2**63), 2**63 - 1
    for name, rowids in (
        ("order-0.parquet", [lowest, lowest + 1, 0]),
        ("waiting.parquet", [highest]),
        ("rejected.parquet", [highest]),
    ):
        schema = pa.schema([("rowid", pa.int64()), ("stream", pa.binary()), ("prev", pa.binary())])
        rows = [{"rowid": rowid, "stream": b"s", "prev": None} for rowid in rowids]
        pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / name)
    first, middle, last = log_facts(tmp_path, tmp_path).rowids
    assert first == RowidBin(lowest, 2, 0, 0)
    assert middle[1:] == (1, 0, 0)
    assert middle.first_rowid <= 0 < last.first_rowid
    assert last[1:] == (0, 1, 1)


class _Parts(HTMLParser):
    """The tags of a page with their attributes, and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 # the parser's signature
        self.hidden = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


def parts(text: str) -> _Parts:
    found = _Parts()
    found.feed(text)
    found.close()
    return found


def test_it_loads_nothing_from_anywhere(replayed: tuple[Path, Facts]) -> None:
    tags = parts(page(replayed[1])).tags
    assert not [
        tag
        for tag in tags
        if tag[0] in {"link", "iframe", "img", "object", "base"}
        or tag[1].keys() & {"src", "href", "srcset"}
    ]


def test_it_says_what_was_found_and_shows_cids_as_text(replayed: tuple[Path, Facts]) -> None:
    _, facts = replayed
    assert facts.log is not None
    text = parts(page(facts)).text
    assert f"{facts.delivered:,}" in text
    assert cid_text(facts.log.longest[0][0]) in text
    assert facts.details["order digest"] in text


def test_a_name_is_text_whatever_it_holds() -> None:
    found = parts(page(FACTS))
    assert found.text.count("Replay of <b>&.db") == 2
    assert "/data/<b>&.db" in found.text


def test_a_run_without_a_log_has_a_page_too() -> None:
    text = parts(page(FACTS)).text
    assert "Throughput" in text
    assert "Forks" not in text


def rendered(path: Path) -> tuple[str, str]:
    """The document as a browser makes it, and what it logs."""
    if BROWSER is None:
        pytest.skip("no browser is installed here; the document's structure is tested anyway")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
    ]
    network = "--host-resolver-rules=MAP * ~NOTFOUND"
    done = subprocess.run(
        [BROWSER, *options, network, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def assert_drawn(path: Path, pictures: int) -> None:
    document, log = rendered(path)
    assert len(re.findall(r'class="[^"]*js-plotly-plot', document)) == pictures
    # a picture that failed has no axes
    assert len(re.findall(r'class="xaxislayer-above"', document)) == pictures
    assert "CONSOLE" not in log, log


def test_a_browser_draws_all_pictures_without_an_error(
    replayed: tuple[Path, Facts], tmp_path: Path
) -> None:
    write_page(tmp_path / "page.html", replayed[1])
    assert_drawn(tmp_path / "page.html", 5)


def test_a_browser_draws_a_page_of_nothing(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", [])
    write_page(
        tmp_path / "page.html", replay(path, tmp_path / "log", RunOptions(), counted=True).facts()
    )
    assert_drawn(tmp_path / "page.html", 4)


def test_a_place_where_no_page_can_be_is_refused_before_the_work(tmp_path: Path) -> None:
    snapshot = store(tmp_path / "node.db", [])
    before = snapshot.read_bytes()
    require_place(tmp_path / "page.html", snapshot, "a page")
    (tmp_path / "link.html").symlink_to(snapshot)
    for place, reason in {
        tmp_path: "it is no regular file",
        tmp_path / "nowhere" / "page.html": "No such file or directory",
        snapshot: "it belongs to the database",
        tmp_path / "link.html": "it belongs to the database",
        snapshot.with_name("node.db-wal"): "it belongs to the database",
    }.items():
        with pytest.raises(CannotStartError, match=f"Can't write a page to `{place}`: {reason}"):
            require_place(place, snapshot, "a page")
    assert snapshot.read_bytes() == before
    assert not (tmp_path / "page.html").exists()


def test_a_replay_does_not_write_its_page_over_its_snapshot(tmp_path: Path) -> None:
    snapshot = store(tmp_path / "node.db", chain(3))
    before = snapshot.read_bytes()
    command = [
        sys.executable,
        "-m",
        "flows",
        "replay",
        str(snapshot),
        "--out",
        str(tmp_path / "log"),
        "--html",
        str(snapshot),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, cwd=ROOT, text=True)
    assert ran.returncode == 2
    assert "it belongs to the database" in ran.stderr
    assert snapshot.read_bytes() == before
    assert not (tmp_path / "log").exists()


def test_a_page_that_can_not_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("earlier")
    (tmp_path / ".page.html.partial").mkdir()
    with pytest.raises(InterruptedRunError, match=r"Can't write a page to .*: Is a directory"):
        write_page(tmp_path / "page.html", FACTS)
    assert (tmp_path / "page.html").read_text() == "earlier"


def test_log_facts_of_a_single_stream(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(8))
    facts = replay(path, tmp_path / "log", RunOptions(), counted=True).facts()
    assert facts.log == LogFacts(
        [Bar("5 to 8", 1)],
        [],
        [RowidBin(rowid, 1, 0, 0) for rowid in range(2, 9)],
        [(chain(8)[0].cid, 7)],
    )
