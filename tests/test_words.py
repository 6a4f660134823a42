"""One word for a thing, and lines that fit on a screen: in code, messages and documents."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import ROOT
from tests.test_documents import DOCUMENTS, SOURCES

COLUMNS = 100
WORDS = {
    r"quarantin": "rejected",
    r"\btally\b|\btallies\b": "run state",
    r"\bat the (most|least)\b": "at most, at least",
    r"\bone behind the other\b": "concatenated",
    r"\b(the|a|its|their) begin\b": "start",
    r"\btells?\b|\btold\b(?! apart)": "reports, shows, says",
    r"\bbeside\b": "next to, at the same time, in addition",
    r"\bjudg(e|es|ed|ing)\b": "check, decide",
    r"\bthe log can't be taken\b|\blog is taken into\b|\bMB of log\b": "WAL, checkpoint",
    r"\blistings?\b|Listing[A-Z]|\bLISTED\b *=": "event blocks",
    r"fruitless": "nothing: it is gone",
    r"\b(taken|takes|took) (in|into the database)\b(?= (after|at|as|when|while|every)|\.|$)": (
        "checkpoint"
    ),
    r"\bwrite-ahead log\b(?! \((WAL|`-wal`))": "WAL",
}
"""What is not said, and what is said instead (CONTRIBUTING.md, Words)."""

EXPLAINED = {"CONTRIBUTING.md", Path(__file__).name}
"""Where such a word stands because it is explained."""


UNCLEAR = {
    *(
        "place",
        "pace",
        "facts",
        "replayed",
        "chain",
        "gather",
        "single",
        "shared",
        "judge",
        "story",
    ),
    *("offer", "others", "joined", "turn", "top", "asked", "fruitless", "fence", "give_way"),
}
"""Names that would need a docstring to be understood."""

FIELDS = {"chain"}
"""Fields of JSON documents, where a name is as in the document."""


def names(path: Path) -> Iterator[str]:
    """What a module calls itself, its functions, classes, parameters and fields."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name.lower().strip("_")
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name.lower().strip("_")


@pytest.mark.parametrize("room", ["connectors", "operators", "flows"])
def test_a_name_explains_itself(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        unclear = UNCLEAR & {*names(path)} - FIELDS
        assert not unclear, path


def places(pattern: str, paths: list[Path]) -> list[str]:
    """Where a pattern is found, by file and line."""
    found = re.compile(pattern, re.IGNORECASE if pattern.islower() else 0)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:COLUMNS]}"
        for path in paths
        if path.name not in EXPLAINED
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if found.search(line)
    ]


@pytest.mark.parametrize("word", WORDS)
def test_a_thing_has_one_word(word: str) -> None:
    assert places(word, [*SOURCES, *DOCUMENTS]) == [], f"say: {WORDS[word]}"


def test_a_line_of_code_has_at_most_a_hundred_columns() -> None:
    code = [path for path in SOURCES if path.suffix in {".py", ".sql", ".c"}]
    assert places(rf"^.{{{COLUMNS + 1}}}", code) == []
