"""Every README is true: its commands print what it shows, its tables are those of the program."""

import importlib
import json
import re
import shlex
import shutil
import sys
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any

import pytest

from operators.schemas import Reason
from tests.support.checkout import installed_checkout
from tests.support.picture import PICTURE, picture, without_times
from tests.support.program import ROOT, ceramic_order, run
from tests.support.reference import REFERENCE, tables, with_tables

EXAMPLES = ROOT / "examples"
TUTORIALS = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
READMES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not {".venv", "build", ".git"} & set(path.relative_to(ROOT).parts)
)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START_OVER = re.compile(r"To start over: (`.+?`|nothing)")
MOST_PROSE = 65
"""Lines of text on a page, without commands and what they print."""
FIELDS = re.compile(r"^\| JSON of `(.+?)` \|.*\n\|.*\n((?:\|.*\n)+)", re.MULTILINE)
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def commands(text: str) -> list[tuple[str, str]]:
    """The command lines of a README's console blocks, and what each prints."""
    lines = [
        command
        for block in CONSOLE.findall(text)
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return [(line, expected) for line, _, expected in (line.partition("\n") for line in lines)]


def shell(line: str, folder: Path) -> str:
    """What a shell prints for a command line, stderr included, with this environment's programs."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    both = 'exec 2>&1; eval "$0"'
    command = ["sh", "-c", both, line]
    return run(command, code=None, environment=environment, cwd=folder, traceback=True).out


def assert_true(text: str, folder: Path) -> None:
    """Run all commands of a README in a folder, one after another, and compare what they print."""
    for line, expected in commands(text):
        printed = shell(line, folder)
        compared = OutputChecker().check_output(lenient(expected), lenient(printed), ELLIPSIS)
        assert compared, f"$ {line}\n{printed}"


def lenient(printed: str) -> str:
    """Without the widths of columns, which depend on times; a line of dots may stand for none."""
    return re.sub(" +", " ", printed).replace("\n...\n", "...\n")


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_commands_print_what_the_tutorial_shows(tutorial: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / tutorial, tmp_path / tutorial))
    text = (folder / "README.md").read_text()
    assert commands(text)
    assert_true(text, folder)
    (start_over,) = START_OVER.findall(" ".join(text.split()))
    assert shell(start_over.strip("`").replace("nothing", "true"), folder) == ""
    assert files_in(folder) == files_in(EXAMPLES / tutorial)


def files_in(folder: Path) -> set[str]:
    """What lies in a folder, but for what Python keeps there."""
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_a_tutorial_is_a_page_with_a_picture(tutorial: str) -> None:
    text = (EXAMPLES / tutorial / "README.md").read_text()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len([line for line in prose.splitlines() if line]) <= MOST_PROSE
    assert MERMAID.search(text) or re.search(r"!\[.+\]\(.+\.(png|svg)\)", text)


def test_commands_print_what_the_reference_shows(tmp_path: Path) -> None:
    assert_true(REFERENCE.read_text(), tmp_path)


def test_commands_print_what_the_first_page_shows(tmp_path: Path) -> None:
    installed_checkout(tmp_path)
    assert_true((ROOT / "README.md").read_text(), tmp_path)


def test_the_picture_of_a_run_is_that_of_a_run() -> None:
    drawn = PICTURE.read_text()
    assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert without_times(drawn) == without_times(picture()), (
        "make it anew: python -m tests.support.picture"
    )


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_no_other_readme_shows_commands_that_nobody_runs() -> None:
    # those for developers start these tests themselves
    run_above = {Path("README.md"), REFERENCE.relative_to(ROOT), Path("CONTRIBUTING.md")}
    run_above |= {Path("examples", name, "README.md") for name in TUTORIALS}
    others = [path for path in READMES if path not in run_above]
    assert [path for path in others if commands((ROOT / path).read_text())] == []


@pytest.mark.parametrize("path", READMES, ids=str)
def test_commands_that_can_not_be_run_here_are_at_least_well_formed(path: Path) -> None:
    for block in SHELL.findall((ROOT / path).read_text()):
        run(["sh", "-n", "-c", block])
        for line in re.findall(r"^.*\bceramic-order ([a-z]+ .*)$", block, re.MULTILINE):
            name, *arguments = shlex.split(line)
            command = importlib.import_module(f"flows.cli.{name}").command
            with command.make_context(name, arguments) as context:
                assert context.params


@pytest.mark.parametrize(
    "tutorial", [name for name in TUTORIALS if (EXAMPLES / name / "flow.py").exists()]
)
def test_the_picture_of_the_flow_is_that_of_bytewax(tutorial: str) -> None:
    folder = EXAMPLES / tutorial
    (picture,) = MERMAID.findall((folder / "README.md").read_text())
    assert shell("python -m bytewax.visualize flow", folder) == picture


NOTEBOOK = """
import notebook

shown, names = notebook.app.run()
print(names["children"], names["longest"][0][1], names["wrong"], len(shown))
"""
"""Runs the cells of a notebook in the order that marimo finds, and prints what they have made."""


def test_the_notebook_says_what_its_tutorial_says(tmp_path: Path) -> None:
    pytest.importorskip("marimo", reason="`make lint` installs what this needs")
    shutil.copy(EXAMPLES / "replay-and-verify" / "notebook.py", tmp_path)
    population = "--streams 200 --length 12 --forks 0.15 --missing 0.002 --order shuffled --seed 1"
    run(ceramic_order("synth", tmp_path / "node.db", *population.split()))
    run(ceramic_order("replay", tmp_path / "node.db", "--out", tmp_path / "order", "--no-verify"))
    said = run([sys.executable, "-c", NOTEBOOK], cwd=tmp_path).out
    assert said == "[(1, 1654), (2, 222), (3, 23), (5, 1)] 11 0 4\n"


def test_the_reference_names_every_option_with_its_help() -> None:
    text = REFERENCE.read_text()
    assert all(f"<!-- options of {name} -->" in text for name in tables())
    assert text == with_tables(text), "write it anew: python -m tests.support.reference"
    assert "--dry-run" in tables()["run"]
    assert "--check" in tables()["why"]


def test_the_reference_names_every_reason() -> None:
    text = " ".join(REFERENCE.read_text().split())
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A real document of every command by its name."""
    folder = tmp_path_factory.mktemp("documents")
    path, profile = folder / "node.db", folder / "profile.json"

    def document(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
        return run(ceramic_order(*arguments, "--json", "--quiet"), code=code).document

    found = {
        "synth": document("synth", path, "--streams", "20", "--length", "9", "--missing", "0.05"),
        "status": document("status", path, "--reasons"),
        "missing": document("missing", path),
        "replay": document("replay", path, "--out", folder / "log"),
        "run": document("run", path, "--profile", profile),
        "verify": document("verify", path),
    }
    waiting = found["status"]["left"]["stuck_streams"][0]["stream"]
    return {
        **found,
        "why": document("why", path, waiting),
        "--profile": json.loads(profile.read_text()),
    }


JSON_TABLES = dict(FIELDS.findall(REFERENCE.read_text()))


@pytest.mark.parametrize("name", JSON_TABLES)
def test_the_reference_names_every_field_of_a_document(
    name: str, documents: dict[str, dict[str, Any]]
) -> None:
    fields: dict[str, str] = {}
    for row in JSON_TABLES[name].splitlines():
        names, types = (cell.strip() for cell in row.split("|")[1:3])
        each = re.findall("`(.+?)`", names)
        kinds = types.split(", ")
        fields |= dict(zip(each, kinds * len(each) if len(kinds) == 1 else kinds, strict=False))
    document = documents[name]
    assert {field for field in fields if "." not in field} == set(document)
    for field, kind in fields.items():
        value: Any = document
        for part in field.split("."):
            value = value[part]
        allowed = tuple(one for word in kind.split(" or ") for one in TYPES[word])
        assert type(value) in allowed, (field, value)
    inner = {field.partition(".")[0] for field in fields if "." in field}
    for outer in inner:
        named = {field.partition(".")[2] for field in fields if field.startswith(f"{outer}.")}
        assert named == set(document[outer])


def test_every_document_has_its_table(documents: dict[str, dict[str, Any]]) -> None:
    assert set(JSON_TABLES) == set(documents)
