"""Every test asserts something: itself, by `pytest.raises`, or by a function that does."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.program import ROOT

TESTS = ROOT / "tests"
Function = ast.FunctionDef | ast.AsyncFunctionDef
RAISES = {"raises", "warns", "fail"}
"""Of pytest, and each an assertion."""


class Module:
    """A module of the tests: its functions, and where its names come from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.functions = {
            node.name: node for node in ast.walk(self.tree) if isinstance(node, Function)
        }
        self.imported = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def find(self, called: ast.expr) -> tuple["Module", Function] | None:
        """The function of the tests that a call means; None: it is of another package."""
        match called:
            case ast.Name(id=name) if name in self.functions:
                return self, self.functions[name]
            case ast.Name(id=name) if name in self.imported:
                return _function(*self.imported[name])
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in self.imported:
                return _function(".".join(self.imported[module]), name)
            case ast.Attribute(attr=name):
                return _method(self, name)
            case _:
                return None


@cache
def _module(name: str) -> Module | None:
    path = ROOT / f"{name.replace('.', '/')}.py"
    return Module(path) if name.startswith("tests.") and path.is_file() else None


def _function(module: str, name: str) -> tuple[Module, Function] | None:
    found = _module(module)
    return (found, found.functions[name]) if found and name in found.functions else None


def _method(module: Module, name: str) -> tuple[Module, Function] | None:
    """A method of that name, of a class in this module or in one that it imports from."""
    others = (_module(source) for source, _ in module.imported.values())
    for each in (module, *filter(None, others)):
        for node in ast.walk(each.tree):
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, Function) and method.name == name:
                        return each, method
    return None


def asserts(module: Module, function: Function, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function asserts something, itself or by what it calls."""
    for node in ast.walk(function):
        match node:
            case ast.Assert():
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pytest"), attr=name)):
                if name in RAISES:
                    return True
            case ast.Call(func=ast.Name(id="run_state_machine_as_test")):
                return True  # the machine's rules assert
            # the first argument of `check_forests` is what asserts
            case (
                ast.Call(func=ast.Name(id="check_forests"), args=[called, *_])
                | ast.Call(func=called)
            ) if found := module.find(called):
                name = f"{found[0].path}:{found[1].name}"
                if name not in seen and asserts(*found, seen | {name}):
                    return True
    return False


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS))
)
def test_every_test_asserts_something(path: Path) -> None:
    module = Module(path)
    assert [
        name
        for name, function in module.functions.items()
        if name.startswith("test_") and not asserts(module, function)
    ] == []


def test_a_test_without_an_assertion_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from tests.support.oracle import check\n"
        "def helps(): assert True\n"
        "def test_itself(): assert True\n"
        "def test_by_another(): helps()\n"
        "def test_by_the_oracle(): check(1, 2)\n"
        "def test_not(): print(1)\n"
    )
    module = Module(tmp_path / "one.py")
    assert {name: asserts(module, function) for name, function in module.functions.items()} == {
        "helps": True,
        "test_itself": True,
        "test_by_another": True,
        "test_by_the_oracle": True,
        "test_not": False,
    }
