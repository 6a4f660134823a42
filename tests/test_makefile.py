"""The first contact: `make` sets up, or says in one sentence what it lacks."""

import shutil
from pathlib import Path

import pytest

from ceramic_order import OURS
from tests.support.checkout import FILES, installed_checkout
from tests.support.job import chain, store
from tests.support.program import ROOT, Ended, run

TOOLS = ("make", "sh", "grep", "rm", "touch", "mkdir", "dirname")
"""What the Makefile itself calls."""


def make(folder: Path, *arguments: str, code: int = 0) -> Ended:
    """Run make in a folder where only these programs are found."""
    programs = folder / "only"
    programs.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    # the tests themselves may run under make
    outer = {"MAKEFLAGS": "", "MAKELEVEL": "0", "MFLAGS": "", "PATH": str(programs)}
    return run(["make", *arguments], code=code, cwd=folder, environment=outer)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_without_a_python_that_bytewax_runs_on_a_sentence_says_so(checkout: Path) -> None:
    ended = make(checkout, "install", code=2)
    assert "Error: Python 3.11 or 3.12 is needed" in ended.err
    assert "make PYTHON=/path/to/python3.12 install" in ended.err
    assert not (checkout / ".venv").exists()


def test_without_a_compiler_a_sentence_says_so(checkout: Path) -> None:
    ended = make(checkout, "install", "PYTHON=python", code=2)
    assert "Error: a C compiler is needed" in ended.err
    assert not (checkout / ".venv").exists()


def test_a_moved_checkout_makes_its_environment_anew(tmp_path: Path) -> None:
    folder = installed_checkout(tmp_path)
    assert make(folder, "-n", "install").out == "make: Nothing to be done for 'install'.\n"
    shutil.rmtree(folder / "only")
    (folder / ".venv" / "pyvenv.cfg").write_text("command = python -m venv /elsewhere/.venv")
    assert "-m venv --clear .venv" in make(folder, "-n", "install", "PYTHON=python").out


def test_what_is_installed_is_compiled_so_that_no_start_has_to(checkout: Path) -> None:
    # a -n run calls no compiler: any program that is there will do
    planned = make(checkout, "-n", "install", "PYTHON=python", "CC=touch").out
    (compiled,) = (line for line in planned.splitlines() if "compileall" in line)
    for package in OURS:
        assert package in compiled.split()


@pytest.mark.parametrize("name", ["a b.db", "$HOME.db", "it's `x` #1.db"])
def test_a_database_may_have_any_name(name: str, tmp_path: Path) -> None:
    folder = installed_checkout(tmp_path)
    path = store(tmp_path / name, chain(3))
    ended = make(folder, "run", f"DB={path}")
    assert "delivered" in ended.out
    assert not (tmp_path / "build").exists()
