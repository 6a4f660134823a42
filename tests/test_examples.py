"""Every tutorial does what its text says: its commands print what it shows."""

import doctest
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import program
from tests.support.program import ROOT

EXAMPLES = ROOT / "examples"
TUTORIALS = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_commands_print_what_the_tutorial_shows(tutorial: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / tutorial, tmp_path / tutorial))
    text = (folder / "README.md").read_text()
    commands = [
        command
        for block in CONSOLE.findall(text)
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert commands
    for command in commands:
        line, _, expected = command.partition("\n")
        printed = run(line, folder)
        assert doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS), (
            f"$ {line}\n{printed}"
        )


@pytest.mark.parametrize(
    "tutorial", [name for name in TUTORIALS if (EXAMPLES / name / "flow.py").exists()]
)
def test_the_picture_of_the_flow_is_that_of_bytewax(tutorial: str) -> None:
    folder = EXAMPLES / tutorial
    (picture,) = MERMAID.findall((folder / "README.md").read_text())
    assert run("python -m bytewax.visualize flow", folder) == picture


def run(line: str, folder: Path) -> str:
    """What a shell prints for a command line, with this environment's programs on its PATH."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    both = 'exec 2>&1; eval "$0"'
    return program.run(
        ["sh", "-c", both, line], code=None, cwd=folder, environment=environment, traceback=True
    ).out
