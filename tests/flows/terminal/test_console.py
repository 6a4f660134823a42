"""What is printed: escaped, on the right stream, and never the end of the process."""

import socket
from pathlib import Path

import pytest

from flows.terminal.console import escaped, print_result
from flows.terminal.words import counted
from tests.support.job import chain, store
from tests.support.program import Argument, ceramic_order, run


def test_what_a_terminal_would_obey_is_shown_escaped() -> None:
    assert escaped("a\x1b[2Jb\x9bc\u202ed\udcff\te\n") == ("a\\x1b[2Jb\\x9bc\\u202ed\\udcff\\te\\n")
    assert escaped("Grüße, 世界") == "Grüße, 世界"


def test_results_keep_their_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("one\x1b]0;title\x07\ntwo\tthree")
    assert capsys.readouterr().out == "one\\x1b]0;title\\x07\ntwo\tthree\n"


def test_a_file_name_with_control_codes_is_shown_escaped(tmp_path: Path) -> None:
    done = run(ceramic_order("status", tmp_path / "no\x1b[31m\nwhere"), code=2)
    assert "no\\x1b[31m\\nwhere" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 events"), (1, "1 event"), (2000, "2,000 events")]
)
def test_a_noun_follows_its_number(number: int, said: str) -> None:
    assert counted(number, "event") == said


@pytest.mark.parametrize("asked", ["0", "1"])
@pytest.mark.parametrize("command", ["run", "replay"])
def test_bytewax_opens_no_port_and_writes_no_file_of_its_own(
    command: str, asked: str, tmp_path: Path
) -> None:
    path = store(tmp_path / "node.db", chain(3))
    (tmp_path / "cwd").mkdir()
    more: list[Argument] = ["--out", tmp_path / "log", "--no-verify"]
    # with its API it writes a file before it listens, and ends where it can't listen
    environment = {"BYTEWAX_DATAFLOW_API_ENABLED": asked}
    with socket.socket() as busy:
        busy.bind(("0.0.0.0", 0))  # noqa: S104 # where Bytewax would listen
        busy.listen()
        environment["BYTEWAX_DATAFLOW_API_PORT"] = str(busy.getsockname()[1])
        options = more if command == "replay" else []
        run(ceramic_order(command, path, *options), environment=environment, cwd=tmp_path / "cwd")
    assert not list((tmp_path / "cwd").iterdir())


def test_a_shell_completes_commands_and_options() -> None:
    environment = {
        "_CERAMIC_ORDER_COMPLETE": "bash_complete",
        "COMP_WORDS": "ceramic-order run --par",
        "COMP_CWORD": "2",
    }
    completed = run(ceramic_order(), environment=environment).out
    assert completed.split() == ["plain,--partitions"]


def test_the_versions_of_all_libraries_are_printed() -> None:
    first, *others = run(ceramic_order("--version")).out.splitlines()
    assert first.startswith("ceramic-order ")
    names = {line.split()[0] for line in others}
    assert {"python", "sqlite", "bytewax", "pyarrow", "duckdb"} <= names


def test_a_folder_given_for_a_database_names_the_one_in_it(tmp_path: Path) -> None:
    store(tmp_path / "db.sqlite3", chain(3))
    done = run(ceramic_order("status", tmp_path), code=2)
    assert f"Did you mean `{tmp_path / 'db.sqlite3'}`?" in done.err
