"""The page answers what an operator asks, needs no network, and can be read in a real browser."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError, InterruptedRunError
from flows.jobs.options import RunOptions
from flows.jobs.run import dry_run
from flows.report.answers import run_page
from flows.report.counts import LabelledCount, LogFacts, RowidBin
from flows.report.drawing import LEAST_SHARE, MOST_TICKS, Bar, Column, bars, columns, ticks
from flows.report.output_file import require_writable
from flows.report.page import Answer, PageContent, page, write_page
from flows.report.questions import (
    DID_RULES_PASS,
    HOW_LONG,
    IS_IT_SAFE,
    WHAT_BREAKS_THEM,
    WHAT_IS_LEFT,
    WHAT_IS_STUCK,
    WHAT_TO_FETCH,
)
from flows.report.rule_answers import verify_page
from flows.report.stuck import read_stuck
from flows.report.throughput import Sample
from flows.synth.database import write_database
from flows.synth.streams import Population
from flows.verify.rules import RULES
from flows.verify.verify import verify
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of
from tests.support.program import Ended, ceramic_order, python, run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

NOTHING_LEFT = [IS_IT_SAFE, WHAT_IS_LEFT, DID_RULES_PASS, HOW_LONG]

EVERYTHING = PageContent(
    title="Replay of <b>&.db",
    answers=[
        Answer("Safe?", "bad", "No: `rule` failed.", "More.", "ceramic-order verify '<b>&.db'"),
        Answer("Stuck?", "open", "1 stream.", table=[("stream", "events"), ("bafy" * 15, "1,000")]),
    ],
    fates=[Bar("delivered", 1_000_000, "delivered"), Bar("cycle", 1_000, "waiting")],
    samples=[Sample(second / 10, second * 1000, second * 990) for second in range(20)],
    log=LogFacts(
        [LabelledCount("1", 1_000_000), LabelledCount("2", 1)],
        [LabelledCount("2", 3)],
        [RowidBin(1, 1_000_000, 1000, 1), RowidBin(9000, 0, 0, 2)],
        [(chain(1)[0].cid, 7)],
    ),
    details={"snapshot": "/data/<b>&.db", "digest": "0123456789abcdef" * 4},
)
"""A page with each kind of part, and bars a thousand times as long as others."""


class _Parts(HTMLParser):
    """The tags of a page with their attributes, and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.headings: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 # the parser's signature
        self._tag = ""

    def handle_data(self, data: str) -> None:
        self.text += "" if self._tag in {"script", "style"} else data
        if self._tag == "h2":
            self.headings.append(data)


def parts(text: str) -> _Parts:
    found = _Parts()
    found.feed(text)
    found.close()
    return found


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of streams with forks and missing events, not delivered."""
    path = tmp_path_factory.mktemp("page") / "node.db"
    write_database(
        path, Population(streams=30, length=20, forks=0.4, missing=0.02, seed=3), "shuffled"
    )
    return path


@pytest.fixture
def database(gaps: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(gaps, tmp_path / "node.db"))


def page_of(*arguments: str | Path, code: int = 0) -> _Parts:
    """The page that a command writes; its last argument is the file."""
    run(ceramic_order(*arguments[:-1], "--html", arguments[-1]), code=code)
    return parts(Path(arguments[-1]).read_text())


def test_the_page_of_a_run_answers_what_an_operator_asks(database: Path, tmp_path: Path) -> None:
    missing = run(ceramic_order("missing", database)).out.split()
    found = page_of("run", database, tmp_path / "page.html")
    asked = [IS_IT_SAFE, WHAT_IS_LEFT, WHAT_IS_STUCK, WHAT_TO_FETCH, DID_RULES_PASS, HOW_LONG]
    assert found.headings[: len(asked)] == asked
    assert "✓ Yes." in found.text
    assert f"{len(missing)} events that the database does not hold" in found.text
    assert all(cid in found.text for cid in sorted(missing)[:3])
    assert f"ceramic-order verify {database}" in found.text
    assert not list(tmp_path.glob("*.parquet"))


def dry_run_page(path: Path, folder: Path, *, check_node: bool = True, dry: bool = True) -> _Parts:
    """The page of a run that wrote nothing, shown as that of a dry run or of a real one."""
    result = dry_run(path, RunOptions(check_node=check_node, report=folder / "report"))
    stuck = read_stuck(folder / "report", folder)
    return parts(page(run_page(result, stuck, [], dry=dry)))


def test_the_page_of_a_run_that_leaves_nothing_draws_nothing_of_it(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    found = dry_run_page(path, tmp_path, dry=False)
    assert found.headings == [*NOTHING_LEFT, "What became of the undelivered events", "Details"]
    assert "Nothing." in found.text


def test_the_page_of_a_dry_run_says_that_nothing_is_written(database: Path, tmp_path: Path) -> None:
    found = dry_run_page(database, tmp_path)
    assert "Not yet: a run would deliver" in found.text
    assert f"ceramic-order run {database}" in found.text


def test_the_page_of_a_run_that_does_not_check_promises_nothing(
    database: Path, tmp_path: Path
) -> None:
    found = dry_run_page(database, tmp_path, check_node=False, dry=False)
    assert "Only if a node can read what was delivered." in found.text


def test_the_page_of_a_replay_shows_rules_and_pictures(database: Path, tmp_path: Path) -> None:
    found = page_of("replay", database, "--out", tmp_path / "log", tmp_path / "page.html")
    assert set(found.headings) >= {WHAT_IS_STUCK, WHAT_TO_FETCH, "Forks", "Longest streams"}
    checked = sum(rule.needs in {None, "log"} for rule in RULES)
    assert f"Yes, all {checked} that were checked." in found.text
    assert "order digest" in found.text


def test_the_page_of_a_verification_names_the_rule_that_failed(
    database: Path, tmp_path: Path
) -> None:
    place = tmp_path / "page.html"
    document = run(ceramic_order("verify", database, "--html", place, "--json"), code=1).document
    found = parts(place.read_text())
    assert "Not yet: there are events that can be delivered." in found.text
    assert "No: nothing-left failed." in found.text
    asked = [IS_IT_SAFE, WHAT_IS_LEFT, DID_RULES_PASS, WHAT_BREAKS_THEM, HOW_LONG]
    assert found.headings[: len(asked)] == asked
    violations = [one for rule in document["rules"] for one in rule["first"]]
    assert violations
    assert all(one["cid"] in found.text and one["detail"] in found.text for one in violations)
    good = verify(store(tmp_path / "other.db", []))
    found = parts(page(verify_page(good)))
    assert "✓ Yes: no rule failed." in found.text
    assert "failed:" not in found.text


def test_it_loads_nothing_from_anywhere_and_runs_no_script() -> None:
    tags = parts(page(EVERYTHING)).tags
    loading = {"script", "link", "iframe", "img", "object", "base"}
    assert not [tag for tag in tags if tag[0] in loading or {"src", "href"} & tag[1].keys()]


def test_a_name_is_text_whatever_it_holds() -> None:
    found = parts(page(EVERYTHING))
    assert found.text.count("Replay of <b>&.db") == 2
    assert "/data/<b>&.db" in found.text
    assert "verify '<b>&.db'" in found.text


def test_what_is_empty_leaves_no_trace() -> None:
    found = parts(page(PageContent("Nothing", [], log=LogFacts([], [], [], []))))
    assert found.headings == []
    assert not [tag for tag, _ in found.tags if tag in {"svg", "table", "section"}]


def test_a_bar_a_thousand_times_shorter_is_seen_and_has_its_number() -> None:
    drawn = bars([Bar("many", 1_000_000, "delivered"), Bar("few", 1, "waiting")])
    assert f'class="waiting" width="{LEAST_SHARE}%"' in drawn
    assert ">1,000,000</span>" in drawn
    assert ">1</span>" in drawn
    stacked = columns(
        [Column("1", (10**6, 1)), Column("9", (0, 0))],
        [("delivered", "delivered"), ("waiting", "waiting")],
        x_title="rowid",
        y_title="rows",
    )
    assert f'height="{LEAST_SHARE * 10}"><title>1: 1 waiting' in stacked


@pytest.mark.parametrize("top", [0.004, 0.3, 1, 2, 3, 7, 10, 11, 96, 1000, 123_456, 10**12])
def test_ticks_are_few_and_reach_the_top(top: float) -> None:
    found = ticks(top)
    assert found[0] == 0
    assert found[-2] < top <= found[-1]
    assert len(found) <= MOST_TICKS


MEASURE = """
<script>
const small = [...document.querySelectorAll("body *:not(svg *)")]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length;
const unseen = [...document.querySelectorAll("rect")]
    .filter(e => {
        const box = e.getBoundingClientRect();
        return box.width < 1 || box.height < 1;
    }).length;
const dark = getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)";
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.title = `measured wide=${wide} small=${small} unseen=${unseen} `
    + `width=${innerWidth} dark=${dark}`;
</script>
</body>
"""
"""Added to a copy of a page: says how much wider it is than its window, how many texts are smaller
than 12 pixels, and how many shapes are thinner than a pixel."""


def browser(path: Path, *options: str) -> Ended:
    """Show a page without a window."""
    if BROWSER is None:
        pytest.skip("no browser is installed here; the document's structure is tested anyway")
    common = "--headless --no-sandbox --disable-gpu --disable-background-networking"
    return run(
        [
            BROWSER,
            *common.split(),
            f"--user-data-dir={path.parent / 'browser'}",
            *options,
            path.as_uri(),
        ]
    )


def seen_in_browser(path: Path, width: int, *, dark: bool) -> Iterator[str]:
    """What a page is measured to be in a window of this width, and what the browser logs."""
    frame = path.with_name("frame.html")
    # a window of Chromium has a least width that is larger than a telephone's; a frame has none
    frame.write_text(
        f'<iframe id="f" src="{path.name}" width="{width}" height="900" style="border:0"></iframe>'
        "<script>f.onload = () => document.title = f.contentDocument.title</script>"
    )
    ended = browser(
        frame,
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        "--allow-file-access-from-files",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--dump-dom",
    )
    yield from re.findall("<title>(.*?)</title>", ended.out)
    yield from (line for line in ended.err.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1200, False)])
def test_a_browser_shows_all_of_it_at_any_width(width: int, dark: bool, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(EVERYTHING).replace("</body>", MEASURE))
    measured = f"measured wide=0 small=0 unseen=0 width={width} dark={str(dark).lower()}"
    assert list(seen_in_browser(path, width, dark=dark)) == [measured]


def test_a_browser_sees_what_goes_wrong_on_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    wrong = page(EVERYTHING).replace("</body>", "<script>nothing()</script></body>")
    path.write_text(wrong)
    assert any("nothing is not defined" in line for line in seen_in_browser(path, 400, dark=False))


def test_a_browser_prints_it(tmp_path: Path) -> None:
    path, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(page(EVERYTHING))
    browser(path, f"--print-to-pdf={printed}")
    assert printed.read_bytes().startswith(b"%PDF")


def test_a_place_where_no_page_can_be_is_refused_before_the_work(tmp_path: Path) -> None:
    snapshot = store(tmp_path / "node.db", [])
    before = snapshot.read_bytes()
    require_writable(tmp_path / "page.html", snapshot, "a page")
    (tmp_path / "link.html").symlink_to(snapshot)
    for place, reason in {
        tmp_path: "it is no regular file",
        tmp_path / "nowhere" / "page.html": "No such file or directory",
        snapshot: "it belongs to the database",
        tmp_path / "link.html": "it belongs to the database",
        snapshot.with_name("node.db-wal"): "it belongs to the database",
    }.items():
        with pytest.raises(CannotStartError, match=f"Can't write a page to `{place}`: {reason}"):
            require_writable(place, snapshot, "a page")
    assert snapshot.read_bytes() == before
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("command", ["run", "replay", "verify"])
def test_no_command_writes_its_page_over_its_database(command: str, tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    before = path.read_bytes()
    out = ("--out", tmp_path / "log") if command == "replay" else ()
    ended = run(ceramic_order(command, path, *out, "--html", path), code=2)
    assert "it belongs to the database" in ended.err
    assert path.read_bytes() == before
    assert not (tmp_path / "log").exists()


def test_a_page_that_can_not_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    earlier = tmp_path / "page.html" / "earlier"
    earlier.parent.mkdir()
    earlier.touch()
    with pytest.raises(InterruptedRunError, match=r"Can't write a page to .*: Is a directory"):
        write_page(tmp_path / "page.html", EVERYTHING)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert earlier.exists()


KILLED = """
import os, sys
from pathlib import Path
from flows.report.output_file import write_whole

def audit(event, arguments):
    if event == "os.rename" and arguments[1] == sys.argv[1]:
        os._exit(9)

sys.addaudithook(audit)
write_whole(Path(sys.argv[1]), "new")
"""


def test_a_kill_while_a_page_is_written_leaves_the_earlier_one_and_nothing_for_long(
    tmp_path: Path,
) -> None:
    (page_file := tmp_path / "page.html").write_text("earlier")
    run(python("-c", KILLED, page_file), code=9)
    assert page_file.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 2
    write_page(page_file, EVERYTHING)
    assert list(tmp_path.iterdir()) == [page_file]
    assert page_file.read_text() != "earlier"


def test_a_users_file_next_to_a_page_is_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / ".page.html.partial"
    mine.write_text("mine")
    require_writable(tmp_path / "page.html", tmp_path / "node.db", "a page")
    write_page(tmp_path / "page.html", EVERYTHING)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["replay.json", "order-00003.parquet", "waiting.parquet"])
def test_no_page_takes_the_place_of_a_file_of_a_log(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(CannotStartError, match=f"it belongs to `{tmp_path}`"):
            require_writable(folder / name, tmp_path / "node.db", "a page", kept=[tmp_path])


def test_no_page_takes_the_place_of_another_database_or_of_a_file_of_any_log(
    tmp_path: Path,
) -> None:
    pq.write_table(pa.table({"reason": ["cycle"]}), tmp_path / "waiting.parquet")
    (tmp_path / "replay.json").write_text("{}")
    store(tmp_path / "other.db", chain(2))
    before = bytes_of(tmp_path)
    for name in before:
        with pytest.raises(CannotStartError, match="a database, or a file of a log or a report"):
            require_writable(tmp_path / name, tmp_path / "elsewhere" / "node.db", "a page")
    assert bytes_of(tmp_path) == before
