"""The walls between the rooms: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import ROOT

OURS = ("connectors", "operators", "flows")

VOCABULARY = {"operators.schemas", "operators.encoding"}
"""What `connectors` may know of `operators`: what flows, and bytes."""

ORDERING = {"operators", "bytewax", "libipld", "flows.order", "flows.replay", "flows.lookups"}
"""What decodes or orders for the flow: the verifier shares none of it."""

MODULES = sorted(path for room in OURS for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The full names of all modules, or names in modules, that a file imports anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def is_in(name: str, rooms: set[str]) -> bool:
    """Whether a module, or a name in one, is one of these or inside one of them."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name means; None: it is not ours."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if parts[0] in OURS and (path.with_suffix(".py").exists() or path.is_dir()):
            return ".".join(parts[:end])
    return None


def names_by_module() -> dict[str, set[str]]:
    """Each module of ours, and the modules of ours that it imports."""
    found = {}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = {module for each in imported(path) if (module := module_of(each))} - {name}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "operators").rglob("*.py")), ids=str)
def test_operators_import_nothing_of_ours_but_operators(path: Path) -> None:
    assert not {name for name in imported(path) if is_in(name, {"connectors", "flows"})}


@pytest.mark.parametrize("path", sorted((ROOT / "connectors").rglob("*.py")), ids=str)
def test_connectors_know_of_operators_only_the_vocabulary(path: Path) -> None:
    of_ours = {name for name in imported(path) if is_in(name, {"operators", "flows"})}
    assert not {name for name in of_ours if not is_in(name, VOCABULARY)}


@pytest.mark.parametrize("path", sorted((ROOT / "flows" / "verify").rglob("*.py")), ids=str)
def test_the_verifier_shares_no_decoding_and_no_ordering_with_the_flow(path: Path) -> None:
    assert not {name for name in imported(path) if is_in(name, ORDERING)}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = names_by_module()
    assert set(graph) >= {"flows.order", "connectors.source", "operators.order"}
    left = dict(graph)
    while leaves := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in leaves:
            del left[name]
    assert not left


def test_the_room_of_the_terminal_loads_nothing() -> None:
    assert not (ROOT / "flows" / "terminal" / "__init__.py").read_text()


@pytest.mark.parametrize("room", OURS)
def test_the_folders_of_the_tests_are_those_of_the_rooms(room: str) -> None:
    for folder in (ROOT / "tests" / room).rglob("*/"):
        if folder.is_dir() and folder.name != "__pycache__":
            assert (ROOT / folder.relative_to(ROOT / "tests")).is_dir(), folder


@pytest.mark.parametrize("room", OURS)
def test_a_user_of_the_packages_sees_their_types(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


FROM_ARROW = {"connectors.paths", "connectors.sqlite", "operators.schemas"}
"""Where Arrow, which ships no types, hands over what may be anything (pyproject.toml, ANN401)."""


def test_any_is_said_only_of_what_comes_from_arrow() -> None:
    say_it = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
        if "typing.Any" in imported(path)
    }
    assert say_it == FROM_ARROW


PATCHED = {"'tempfile.tempdir'", "tempfile, 'tempdir'", "'shutil.disk_usage'"}
"""What tests patch, and is not ours: where temporary files lie, and how much room a disk has."""


def patches(path: Path) -> Iterator[str]:
    """What a module of the tests changes in other modules."""
    modules = {name.split(".")[-1] for name in imported(path) if module_of(name) == name}
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[*what, _]):
                yield ", ".join(map(ast.unparse, what))
            case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store()) if name in modules:
                yield ast.unparse(node)
            case ast.Subscript(value=ast.Call(func=ast.Name(id="vars")), ctx=ast.Store()):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=str)
def test_settings_are_passed_and_not_patched(path: Path) -> None:
    assert "mock" not in {part for name in imported(path) for part in name.split(".")}
    assert {*patches(path)} <= PATCHED


def test_a_patch_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from connectors import sqlite\n"
        "from flows.jobs import run\n"
        "def test(monkeypatch):\n"
        "    monkeypatch.setattr('connectors.sqlite.BUSY_SECONDS', 1)\n"
        "    sqlite.BUSY_SECONDS = 1\n"
        "    vars(run)['claim'] = None\n"
    )
    assert {*patches(tmp_path / "one.py")} == {
        "'connectors.sqlite.BUSY_SECONDS'",
        "sqlite.BUSY_SECONDS",
        "vars(run)['claim']",
    }


def classes_and_types(path: Path) -> Iterator[tuple[str, str]]:
    """The public classes and names of types of a module, and what each is."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name):
                yield name, str(path)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name[0].isupper():
                if not name.isupper():
                    yield name, ast.unparse(value)


def test_the_name_of_a_class_or_type_means_one_thing() -> None:
    meanings: dict[str, set[str]] = {}
    for path in MODULES:
        for name, meaning in classes_and_types(path):
            meanings.setdefault(name, set()).add(meaning)
    several = {name for name, found in meanings.items() if len(found) > 1 and name[0] != "_"}
    assert not several
