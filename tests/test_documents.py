"""What code and documents cite is there: files by name, sections by their headings."""

import re
from pathlib import Path

import pytest

from tests.support.program import ROOT

ROOMS = ("connectors", "operators", "flows", "tests", "examples")
SUFFIXES = {".py", ".sql", ".c", ".rs", ".toml", ".yaml", ".yml", ".cfg", ".sh"}
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.md"))]
)
SOURCES = sorted(
    [
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
        *(path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in SUFFIXES),
    ]
)
CITED = re.compile(r"([\w./-]*\w\.md)\b(?:`?, ([A-Z][\w', -]*))?")
"""A document, and after a comma and a capital letter its section."""
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def headings(document: Path) -> list[str]:
    """The sections of a document, whatever their level."""
    return re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)


def anchor(heading: str) -> str:
    """The address of a section on the usual hosters."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def named(name: str, source: Path) -> list[Path]:
    """The documents that a name means: seen from the checkout, from the source, or anywhere."""
    places = [ROOT / name, source.parent / name]
    found = [place for place in places if place.is_file()]
    return found or [document for document in DOCUMENTS if document.match(f"**/{name}")]


def joined(source: Path) -> str:
    """The text of a source with the lines of its comments joined."""
    return re.sub(r"\s*\n\s*(?:#|--|//|\*)?\s*", " ", source.read_text())


def test_a_document_that_code_cites_is_in_the_repository_and_has_the_section() -> None:
    citations = 0
    for source in SOURCES:
        for name, section in CITED.findall(joined(source)):
            documents = named(name, source)
            assert documents, f"{source.relative_to(ROOT)} cites {name}"
            assert not section or any(
                section.startswith(heading)
                for document in documents
                for heading in headings(document)
            ), f"{source.relative_to(ROOT)} cites {name}, {section}"
            citations += 1
    assert citations > 20


def test_no_section_is_cited_without_its_document() -> None:
    for source in SOURCES:
        if source != Path(__file__):
            assert not re.search(r"\(README[,)]", joined(source)), source


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT))
)
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for address, section in LINK.findall(text):
        if "://" in address:
            continue
        target = document.parent / address if address else document
        assert target.exists(), f"{document.relative_to(ROOT)} links to {address}"
        assert not section or section in map(anchor, headings(target)), f"{address}#{section}"


def test_every_failure_in_the_readme_names_tests_that_are_there() -> None:
    readme = ROOT / "connectors" / "README.md"
    rows = [line.split("|") for line in readme.read_text().splitlines() if line.startswith("| ")]
    failures = [row for row in rows if len(row) == 6 and row[1].strip() not in {"failure", "---"}]
    assert len(failures) > 20
    for _, failure, *_, cell, _ in failures:
        tests = re.findall(r"`([\w/]+\.py)`", cell)
        assert tests, f"no test of: {failure}"
        for test in tests:
            # as the heading says, and a folder stands for the next names too
            places = [ROOT / test, ROOT / "tests/crash" / test, ROOT / "tests/connectors" / test]
            assert any(place.is_file() for place in places), f"{test} of: {failure}"


def test_the_first_page_says_how_much_depends_on_bytewax() -> None:
    (said,) = re.findall(r"import it \(some ([\d,]+) lines", (ROOT / "README.md").read_text())
    texts = [
        path.read_text()
        for room in ("connectors", "operators", "flows")
        for path in (ROOT / room).rglob("*.py")
    ]
    lines = sum(
        text.count("\n")
        for text in texts
        if re.search(r"^(from|import) bytewax", text, re.MULTILINE)
    )
    assert lines == pytest.approx(int(said.replace(",", "")), rel=0.2)
