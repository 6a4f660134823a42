"""The container file fits the project. No image is built: that needs a service and its registry."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import ROOT, can, run

STEPS = [
    (word, rest.split() if word == "COPY" else rest)
    for word, rest in re.findall(
        r"^([A-Z]+) (.*)$",
        (ROOT / "examples" / "operate" / "Containerfile").read_text(),
        re.MULTILINE,
    )
]
"""The instructions: a word, and what follows."""


def said(word: str) -> list[str]:
    return [str(rest) for name, rest in STEPS if name == word]


def copied() -> Iterator[tuple[list[str], str]]:
    """What is copied from the project, and where to."""
    for word, rest in STEPS:
        if word == "COPY" and not rest[0].startswith("--from"):
            yield list(rest[:-1]), str(rest[-1])


def test_its_python_is_one_that_the_project_runs_on() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least, below = (int(minor) for minor in re.findall(r"3\.(\d+)", needs))
    images = said("FROM")
    assert len(images) == 2
    for image in images:
        (minor,) = re.findall(r"^python:3\.(\d+)", image)
        assert least <= int(minor) < below


def test_it_copies_what_the_project_consists_of() -> None:
    names = {name for source, _ in copied() for name in source}
    assert all((ROOT / name).exists() for name in names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert names >= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_its_user_is_not_root() -> None:
    words = [word for word, _ in STEPS]
    assert said("USER") == ["ceramic"]
    assert words[words.index("USER") :] == ["USER", "ENTRYPOINT"]


def build(command: str, folder: Path) -> None:
    ended = run(["sh", "-ec", command], cwd=folder, seconds=600, code=None)
    if "(from versions: none)" in ended.err:
        pytest.skip("the packages are not to be had: there is no index")
    assert ended.code == 0, ended


@pytest.mark.soak
def test_its_steps_make_a_program_that_any_user_can_run(tmp_path: Path) -> None:
    # another user's view of it: nobody's name, no capability, no network, nothing to write but data
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--net"]
    if not can(*user, "true"):
        pytest.skip("this user can't become another one by `unshare`")
    places = {"/src": tmp_path / "src", "/opt/ceramic-order": tmp_path / "program"}

    def here(text: str) -> str:
        for place, folder in places.items():
            text = text.replace(place, str(folder))
        return re.sub("^python ", f"{sys.executable} ", text)

    (tmp_path / "src").mkdir()
    for source, target in copied():
        for name in source:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, here(target))
            else:
                shutil.copy(ROOT / name, here(target))
    for command in said("RUN"):
        if not command.startswith("useradd"):
            build(here(command), tmp_path)
    shutil.rmtree(tmp_path / "src")

    run(["chmod", "-R", "a-w", tmp_path / "program"])
    (tmp_path / "data").mkdir()
    (program,) = json.loads(here(said("ENTRYPOINT")[0]))
    for command in ("synth", "run", "verify"):
        run([*user, program, command, tmp_path / "data" / "db.sqlite3"], cwd=Path("/"))
    # half a gigabyte
    run(["chmod", "-R", "u+w", tmp_path / "program"])
    shutil.rmtree(tmp_path / "program")
