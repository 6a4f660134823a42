"""The parts of errors: how they are joined, and that every error keeps to their form."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from connectors.errors import RETRY, CannotStartError, DefectError, InterruptedRunError
from tests.support.program import ROOT

KINDS = {"CannotStartError", "InterruptedRunError", "DefectError", "sqlite_errors", "kind"}
"""The calls that make errors."""
PARTS = ("what", "why", "unchanged", "advice")
VALUE = "\0"
"""Stands for a value in a sentence."""


class Raised(NamedTuple):
    """One error of the code, its values replaced by VALUE."""

    place: str
    what: str | None
    why: str | None
    unchanged: str | None
    advice: str | None


def _text(node: ast.expr) -> str | None:
    """A sentence as it is written; None: it is put together elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [
            VALUE if isinstance(part, ast.FormattedValue) else _text(part) for part in node.values
        ]
        return "".join(part or "" for part in parts)
    return None


def _name(node: ast.expr) -> str:
    return (
        node.id
        if isinstance(node, ast.Name)
        else node.attr
        if isinstance(node, ast.Attribute)
        else ""
    )


def errors_of(file: Path) -> Iterator[Raised]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or _name(node.func) not in KINDS:
            continue
        given: dict[str, ast.expr] = {key.arg: key.value for key in node.keywords if key.arg}
        given |= {"what": node.args[0]} if node.args else {}
        texts = {part: _text(given[part]) if part in given else None for part in PARTS}
        yield Raised(f"{file.relative_to(ROOT)}:{node.lineno}", **texts)


ALL = [
    error
    for package in ("connectors", "flows", "operators")
    for file in sorted((ROOT / package).rglob("*.py"))
    for error in errors_of(file)
]


def test_the_table_holds_the_errors_of_the_code() -> None:
    assert len(ALL) > 40


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.place)
def test_every_part_has_its_form(error: Raised) -> None:
    for clause in (error.what, error.why):
        assert clause is None or not clause.endswith((".", "!", ":")), "a clause has no full stop"
    if error.what is not None:
        assert re.match(rf"[A-Z`{VALUE}]", error.what), "what begins a sentence"
    if error.why is not None:
        assert re.match(rf"[a-z`{VALUE}]|PRAGMA|SQL", error.why), "why goes on with a sentence"
    for sentences in (error.unchanged, error.advice):
        if sentences:
            assert re.match(rf"[A-Z`{VALUE}]", sentences), "whole sentences begin with a capital"
            assert sentences.endswith((".", "?", VALUE)), "whole sentences end with a full stop"
            assert "again to finish the job" not in sentences, "`retry` says that"


def test_the_parts_are_joined_in_one_order() -> None:
    error = InterruptedRunError("What", why="why", unchanged="Kept.", advice="Try.", retry=True)
    assert str(error) == f"What: why. Kept. Try. {RETRY}"
    assert str(CannotStartError("What")) == "What. Nothing was changed."


@pytest.mark.parametrize("kind", [CannotStartError, InterruptedRunError, DefectError])
def test_an_error_crosses_processes_whole(
    kind: type[CannotStartError | InterruptedRunError | DefectError],
) -> None:
    error = kind("What", why="why", unchanged="Kept.", advice="Try.", retry=True)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 # our own
    assert (type(copy), copy.parts(), str(copy)) == (kind, error.parts(), str(error))


def test_the_document_of_an_error_has_every_part() -> None:
    assert CannotStartError("What", why="why").to_json() == {
        "exit_code": 2,
        "message": "What: why. Nothing was changed.",
        "what": "What",
        "why": "why",
        "unchanged": "Nothing was changed.",
        "advice": None,
        "retry": False,
    }
