"""A result that gets its name is on the disk by then: a power loss leaves it whole, or none."""

from pathlib import Path

import pytest

from tests.support.program import python, run

WATCHED = """
import os, sys
from pathlib import Path

folder = Path(sys.argv[1])
at_folder, seen = folder.stat().st_ino, []
fsync = os.fsync

def watch_sync(descriptor):
    fsync(descriptor)
    seen.append(("sync", os.fstat(descriptor).st_ino))

def watch_names(event, arguments):
    if event == "os.rename" and os.path.dirname(arguments[1]) == str(folder):
        seen.append((os.path.basename(arguments[1]), os.stat(arguments[0]).st_ino))
    if event in {"os.remove", "os.rename"}:
        above, name = os.path.split(os.fspath(arguments[0]))
        if above == str(folder):
            seen.append((f"remove {name}", 0))

os.fsync = watch_sync
sys.addaudithook(watch_names)
{publish}
for name, number in seen:
    print(name if name != "sync" else "sync the folder" if number == at_folder else "sync", number)
"""
"""Publishes twice, and prints what it did with names in the folder, and what was synced between."""

LOG = """
from tests.connectors.test_log import publish
publish(folder, "old", "order-00002.parquet")
publish(folder, "new")
"""
REPORT = """
from tests.connectors.test_report import left, report
report(folder, left("cycle"))
report(folder, left("cycle", "cycle"))
"""
PAGE = """
from flows.report.output_file import write_whole
write_whole(folder / "page.html", "old")
write_whole(folder / "page.html", "new")
"""


@pytest.mark.parametrize(
    ("publish", "files"), [(LOG, 11), (REPORT, 4), (PAGE, 2)], ids=["log", "report", "page"]
)
def test_what_gets_a_name_is_on_the_disk_before(tmp_path: Path, publish: str, files: int) -> None:
    printed = run(python("-c", WATCHED.replace("{publish}", publish), tmp_path)).out
    synced, waiting, named = set(), list[str](), 0
    for line in printed.splitlines():
        what, _, number = line.rpartition(" ")
        if what == "sync":
            synced.add(number)
        elif what == "sync the folder":
            waiting = []
        elif what.startswith("remove"):
            # a surplus file of the order may be there until the new document comes
            waiting += [] if "order-" in what else [what]
        else:
            assert number in synced, f"{what} was not on the disk"
            # of an earlier result nothing is left when the new one comes, and its document is last
            assert not [earlier for earlier in waiting if earlier.startswith("remove")]
            assert what != "replay.json" or not waiting
            waiting.append(what)
            named += 1
    assert named == files
    assert not waiting or publish == PAGE
