"""Every command on every kind of bad database: one sentence, and no byte or name has changed."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.encoding.cid import cid_text
from tests.hostile.bad_databases import BAD, EVENTS
from tests.hostile.test_command_line import state
from tests.support.forked import BYTEWAX, Forks, forks
from tests.support.job import store
from tests.support.program import can, ceramic_order, run

COMMANDS: dict[str, list[str]] = {
    "status": ["status", "node.db"],
    "why": ["why", "node.db", cid_text(EVENTS[2].cid)],
    "missing": ["missing", "node.db"],
    "verify": ["verify", "node.db"],
    "replay": ["replay", "node.db", "--out", "log"],
    "dry run": ["run", "node.db", "--dry-run"],
    "run": ["run", "node.db"],
    "follow": ["run", "node.db", "--follow"],
    "bytewax": ["flows.order:get_flow('node.db')"],
}
WRITERS = ("run", "follow", "bytewax")
FORETELLERS = ("dry run", "missing")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    folder = tmp_path_factory.mktemp("refusals") / "world"
    folder.mkdir()
    with forks(folder) as commands:
        yield commands


def _seen(folder: Path) -> dict[str, object]:
    """All in a folder; of `-shm`, which SQLite may build anew, only that it is there."""
    return {name: None if name.endswith("-shm") else found for name, found in state(folder).items()}


def _refusal(world: Forks, name: str) -> str | None:
    """What a command says that refuses; None: it works.

    Nothing has changed but what a command that works was asked to write.
    """
    before = _seen(world.folder)
    is_ours = name != "bytewax"
    line = [*COMMANDS[name], "--json"] if is_ours else COMMANDS[name]
    ended = world.run(line, "flows" if is_ours else BYTEWAX)
    reported = f"{name}: {ended}"
    assert ended.code in {0, 2} or (name == "verify" and ended.code == 1), reported
    assert "Traceback" not in ended.err, reported
    if name == "replay" and ended.code == 0:
        shutil.rmtree(world.folder / "log")
    if name not in WRITERS or ended.code == 2:
        assert _seen(world.folder) == before, reported
    assert {path.name for path in world.folder.parent.iterdir()} == {"world", "out", "err"}
    if ended.code != 2:
        return None
    said = ended.err.splitlines()[-1].removeprefix("Error: ")
    if is_ours:
        error = json.loads(ended.out)["error"]
        assert (error["message"], error["exit_code"]) == (said, 2), reported
        assert "`" in error["what"], reported
        assert error["unchanged"].startswith("Nothing was "), reported
        assert error["advice"], reported
    return said


RARE = {kind: pytest.mark.soak for kind, bad in BAD.items() if bad.is_rare}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=RARE.get(kind, ())) for kind in BAD])
def test_every_command_refuses_with_a_sentence_and_changes_nothing_or_works(
    world: Forks, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = BAD[kind]
    shutil.rmtree(world.folder)
    world.folder.mkdir()
    # a path to a socket may not be long
    monkeypatch.chdir(world.folder)
    bad.make(world.folder / "node.db")
    said: dict[str, str] = {}
    with bad.meanwhile(world.folder / "node.db"):
        for name in COMMANDS:
            # one that follows would not end
            if name in bad.skipped or (name == "follow" and name in bad.fine):
                continue
            refusal = _refusal(world, name)
            assert (refusal is None) == (name in bad.fine), f"{name}: {refusal}"
            if refusal is not None:
                assert bad.says in refusal
                said[name] = refusal
    # what stops a run stops all its forms in the same words, and a dry run, unless that may go on
    alike = WRITERS if kind == "another run" else (*WRITERS, *FORETELLERS)
    assert len({said[name] for name in alike if name in said}) <= 1, said


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Before a command of root's: file modes count for it as for anybody."""


@pytest.mark.parametrize(
    ("closed", "line", "said"),
    [
        ("node.db", ["status", "node.db"], "Can't read `node.db`: it belongs to user `"),
        ("node.db", ["run", "node.db"], "Can't read `node.db`: it belongs to user `"),
        ("log", ["run", "log/node.db"], "Can't open `log/node.db`: Permission denied"),
        ("log", ["verify", "node.db", "--log", "log"], "Can't read `log`: this user may not"),
    ],
)
def test_what_this_user_may_not_read_is_named(
    tmp_path: Path, closed: str, line: list[str], said: str
) -> None:
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    if not can(*before, "true"):
        pytest.skip("`setpriv` is not here")
    store(tmp_path / "node.db", EVENTS)
    (tmp_path / "log").mkdir()
    store(tmp_path / "log" / "node.db", EVENTS)
    mode = (tmp_path / closed).stat().st_mode
    (tmp_path / closed).chmod(0)
    ended = run([*before, *ceramic_order(*line)], code=2, cwd=tmp_path)
    (tmp_path / closed).chmod(mode)
    assert ended.err.startswith(f"Error: {said}"), ended.err
    assert "Nothing was " in ended.err
