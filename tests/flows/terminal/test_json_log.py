"""`run --log json`: one object a line on stderr, whatever it is about."""

import json
import re
from pathlib import Path
from signal import SIGTERM
from typing import Any

from tests.support.job import chain, store
from tests.support.program import ceramic_order, end, run, start


def objects(err: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in err.splitlines()]
    for each in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each.pop("time"))
    return found


def test_a_run_ends_with_its_document(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    done = run(ceramic_order("run", path, "--log", "json", "--json"))
    last = objects(done.err)[-1]
    assert (last.pop("level"), last.pop("event")) == ("info", "done")
    assert last == done.document
    assert (last["delivered"], last["database"]) == (4, str(path))


def test_an_error_has_its_parts(tmp_path: Path) -> None:
    done = run(ceramic_order("run", tmp_path / "nowhere", "--log", "json", "--json"), code=2)
    (error,) = objects(done.err)
    assert (error.pop("level"), error.pop("event")) == ("error", "error")
    assert error == done.document["error"]


def test_quiet_leaves_errors_only(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(5))
    assert run(ceramic_order("run", path, "--log", "json", "--quiet")).err == ""


def test_a_signal_is_an_object_too() -> None:
    program = (
        "from flows.terminal.signals import take_over_signals; take_over_signals()\n"
        "from flows.terminal.json_log import use_json_log; use_json_log()\n"
        "import time; print('ready', flush=True); time.sleep(60)"
    )
    child = start([*ceramic_order()[:1], "-c", program])
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(SIGTERM)
    done = end(child)
    assert done.code == 128 + SIGTERM
    assert objects(done.err) == [
        {
            "level": "warning",
            "event": "stopped",
            "message": "Stopped by `SIGTERM`. Nothing was changed.",
        }
    ]


def test_progress_has_numbers_and_cids_are_text() -> None:
    program = (
        "from flows.terminal.json_log import use_json_log, log; use_json_log()\n"
        "import time; from connectors.run_state import RunState\n"
        "from flows.terminal.progress import ProgressSettings, shown_progress\n"
        "state = RunState(); state.start_phase('reading', 10); state.add_discovered(5)\n"
        "settings = ProgressSettings(0.05)\n"
        "with shown_progress(state, quiet=False, settings=settings): time.sleep(0.2)\n"
        "log('info', 'left', {'cid': bytes.fromhex('01711220') + bytes(32)})"
    )
    first, *_, last = objects(run([*ceramic_order()[:1], "-c", program]).err)
    assert first.pop("seconds") > 0
    assert first == {
        "level": "info",
        "event": "progress",
        "phase": "reading",
        "done": 5,
        "total": 10,
        "discovered": 5,
        "delivered": 0,
    }
    assert last["cid"].startswith("bafyrei")
