"""How the command line ends where something goes wrong.

One sentence, the documented exit code, and a document under `--json`.
"""

import os
import resource
import sys
from pathlib import Path

import duckdb
import pytest

from connectors.errors import RETRY
from connectors.scratch import PREFIX
from flows.terminal.signals import JOB_DONE
from flows.terminal.unforeseen import error_for
from tests.support.job import chain, store
from tests.support.program import Argument, ceramic_order, end, python, run, start

COMMANDS = ("run", "status", "missing", "verify", "why", "replay", "synth")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return store(tmp_path / "node.db", chain(4))


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nowhere.db"],
        ["run", "x.db", "--partitions", "many"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_under_json_an_error_is_a_document_with_the_same_exit_code(arguments: list[str]) -> None:
    plain = run(ceramic_order(*arguments), code=2)
    done = run(ceramic_order(*arguments, "--json"), code=2)
    error = done.document["error"]
    assert plain.out == ""
    assert plain.err == done.err == f"Error: {error['message']}\n"
    assert error["exit_code"] == 2
    assert error["unchanged"].startswith("Nothing")


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("replya", "replay")])
def test_an_unknown_command_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    assert f"Did you mean `ceramic-order {meant}`?" in run(ceramic_order(typed), code=2).err


def test_a_command_that_is_like_no_other_is_answered_with_all() -> None:
    assert "`run`, `replay`" in run(ceramic_order("xxxx"), code=2).err


UNFORESEEN = """
import sys
from flows.cli import main, status
sys.argv = ["x", "status", "db", "--json"]
def broken(*_, **__):
    raise ZeroDivisionError("nobody foresaw this.")
status.status = broken
main.main()
"""


def test_what_nobody_foresaw_ends_with_70_and_a_file_with_the_traceback(tmp_path: Path) -> None:
    done = run(python("-c", UNFORESEEN), code=70, environment={"TMPDIR": str(tmp_path)})
    (file,) = tmp_path.iterdir()
    assert done.err.count("\n") == 1
    assert "unexpected `ZeroDivisionError`" in done.err
    assert f"`{file}`" in done.err
    assert "Traceback" in file.read_text()
    assert done.document["error"]["exit_code"] == 70


FEW_THREADS = """
import sys, threading
from flows.cli import main
real, left = threading.Thread.start, [5]
def start(thread):
    left[0] -= 1
    if left[0] < 0:
        raise RuntimeError("can't start new thread")
    real(thread)
threading.Thread.start = start
main.main()
"""


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_limit_on_threads_is_a_sentence(command: str, database: Path) -> None:
    done = run(python("-c", FEW_THREADS, command, database), code=2)
    assert done.err.startswith("Error: The process can't start another thread or process: ")
    assert done.err.count("\n") == 1
    assert "Nothing was changed. Look at `ulimit -u`, `ulimit -v`" in done.err


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (MemoryError("."), "can't get more memory: no reason is given. Nothing was changed."),
        (duckdb.OutOfMemoryException("Allocation failure"), "can't get more memory: allocation f"),
        (
            FileNotFoundError(2, "No such file", f"/{PREFIX}abc/spill"),
            "A temporary folder was removed while it was used: no such file",
        ),
        (
            NotADirectoryError(20, "Not a directory", f"/{PREFIX}abc/spill"),
            "A temporary folder was removed while it was used: not a directory",
        ),
    ],
)
def test_what_is_lacking_is_said_in_whole_sentences(cause: Exception, words: str) -> None:
    error = error_for(cause)
    assert words in str(error)
    # before the start, nothing is there to be finished
    assert RETRY not in str(error)
    assert RETRY in str(error_for(cause, unchanged="`5` events are kept."))
    # after the job nothing is
    assert RETRY not in str(error_for(cause, unchanged=JOB_DONE))


@pytest.mark.parametrize(
    ("command", "limit", "megabytes"),
    [
        ("run", resource.RLIMIT_AS, 60),
        ("run", resource.RLIMIT_AS, 400),
        ("verify", resource.RLIMIT_AS, 400),
        ("verify", resource.RLIMIT_DATA, 200),
    ],
)
def test_little_address_space_is_a_sentence(
    database: Path, command: str, limit: int, megabytes: int
) -> None:
    limits = {limit: megabytes << 20}
    done = run(ceramic_order(command, database), code=2, limits=limits)
    assert done.err.startswith("Error: The process can't ")
    assert "Nothing was changed." in done.err
    assert "`ulimit -v`" in done.err


def arguments_for(command: str, database: Path) -> list[Argument]:
    """A whole command line for this database."""
    more: dict[str, list[Argument]] = {
        "why": [chain(4)[0].cid.hex()],
        "replay": ["--out", database.parent / "out"],
    }
    return [command, database, *more.get(command, [])]


def stored(command: str, path: Path) -> Path:
    """A database at `path`, all of it delivered; none for the command that makes one."""
    return path if command == "synth" else store(path, chain(4), range(1, 5))


@pytest.mark.parametrize("command", ["run", "status", "synth"])
def test_a_path_too_long_for_sqlite_is_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["x" * 100] * 5, "node.db")
    path.parent.mkdir(parents=True)
    if command != "synth":
        path.write_bytes(store(tmp_path / "node.db", chain(4)).read_bytes())
    done = run(ceramic_order(*arguments_for(command, path)), code=2)
    assert "SQLite opens paths of at most `504`" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_whose_name_is_no_text_is_taken(command: str, tmp_path: Path) -> None:
    path = stored(command, Path(os.fsdecode(bytes(tmp_path) + b"/b\xffad.db")))
    run(ceramic_order(*arguments_for(command, path)))


@pytest.mark.parametrize(
    ("command", "options"), [("run", []), ("verify", ["--json"]), ("verify", []), ("synth", [])]
)
def test_a_reader_of_stdout_that_has_gone_is_no_finding(
    command: str, options: list[str], tmp_path: Path
) -> None:
    path = stored(command, tmp_path / "node.db")
    reading, writing = os.pipe()
    os.close(reading)
    child = start(ceramic_order(*arguments_for(command, path), *options), stdout=writing)
    os.close(writing)
    done = end(child)
    assert (done.code, "Error" in done.err) == (0, False), done


@pytest.mark.parametrize("package", ["flows", "connectors", "operators"])
@pytest.mark.parametrize("file", ["{}/__init__.py", "{}.py"], ids=["package", "module"])
def test_a_package_of_the_users_that_hides_ours_is_named(
    package: str, file: str, tmp_path: Path
) -> None:
    theirs = tmp_path / file.format(package)
    theirs.parent.mkdir(exist_ok=True)
    theirs.touch()
    program = Path(sys.executable).with_name("ceramic-order")
    done = run([program, "--version"], environment={"PYTHONPATH": str(tmp_path)}, code=2)
    assert done.err == (
        f"Error: Can't start: the package `{package}` of ceramic-order is hidden by another one, "
        f"`{theirs}`. Nothing was changed. Install ceramic-order in an environment of its own, and "
        "unset PYTHONPATH.\n"
    )


def test_a_folder_of_the_users_with_the_name_of_ours_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    program = Path(sys.executable).with_name("ceramic-order")
    done = run([program, "--version"], environment={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.out.startswith("ceramic-order ")


@pytest.mark.parametrize("value", ["", "x", "elvish_source", "bash_source"])
def test_the_variable_of_completions_can_hold_anything(value: str, tmp_path: Path) -> None:
    environment = {"_CERAMIC_ORDER_COMPLETE": value}
    is_known = value in {"", "bash_source"}
    command = ceramic_order("synth", tmp_path / "made.db", "--streams", 2)
    ended = run(command, code=0 if is_known else 2, environment=environment)
    assert (tmp_path / "made.db").exists() == (value == "")
    assert is_known or f"no completions of the kind `{value}`" in ended.err


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_current_folder_nothing_is_begun(
    command: str, database: Path, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    leave = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    arguments = ceramic_order(*arguments_for(command, database))
    done = run(python("-c", leave, *arguments), code=2, cwd=tmp_path / "gone")
    assert done.err == (
        "Error: The current folder can't be used: No such file or directory. Nothing was changed. "
        "Change to a folder that exists.\n"
    )
