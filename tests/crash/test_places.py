"""Places where a run can't work, or can with less: it says what is lacking, and changes nothing."""

import errno
import os
import resource
from pathlib import Path

import pytest

from connectors.claim import DESCRIPTORS
from tests.crash.conftest import Children, Template, check_rerun, compiled
from tests.support.oracle import check, read
from tests.support.other_programs import bytes_of, kept_open, leave_a_wal
from tests.support.program import can, ceramic_order, python, run


@pytest.fixture(scope="session")
def lacking_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lacking.c, compiled."""
    return compiled("lacking.c", tmp_path_factory.mktemp("lacking"))


@pytest.mark.parametrize(
    ("lacking", "error_number"),
    [
        ("flock", errno.ENOSYS),
        ("flock", errno.ENOLCK),
        ("flock", errno.EOPNOTSUPP),
        ("locks", errno.ENOLCK),
        ("locks", errno.ENOSYS),
        ("locks", errno.EINVAL),
        ("memory", errno.ENODEV),
    ],
)
def test_a_file_system_that_lacks_locks_or_shared_memory_is_named_and_nothing_is_changed(
    small: Template, children: Children, lacking_library: Path, lacking: str, error_number: int
) -> None:
    database = small.copy(children.folder)
    before = bytes_of(children.folder)
    environment = {
        "LD_PRELOAD": str(lacking_library),
        "LACKING": lacking,
        "LACKING_ERRNO": str(error_number),
    }
    for options in ([], ["--follow"]):
        line = ceramic_order("run", database, "--quiet", *options)
        ended = run(line, code=2, environment=environment)
        assert "its file system is `" in ended.err
        assert "a local disk" in ended.err
        assert "Nothing was changed." in ended.err
        assert lacking == "memory" or os.strerror(error_number) in ended.err
        assert bytes_of(children.folder) == before
    check_rerun(small.contents, database, children)


def test_a_refused_follow_leaves_the_wal_of_a_program_that_has_the_database_open(
    small: Template, children: Children, lacking_library: Path
) -> None:
    database = small.copy(children.folder)
    environment = {"LD_PRELOAD": str(lacking_library), "LACKING": "memory"}
    with kept_open(database):
        before = bytes_of(children.folder)
        assert f"{database.name}-wal" in before
        line = ceramic_order("run", database, "--quiet", "--follow")
        assert "Nothing was changed." in run(line, code=2, environment=environment).err
        assert bytes_of(children.folder) == before


def test_a_clock_that_is_set_back_holds_nobody_up(
    small: Template, children: Children, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = small.copy(children.folder)
    library = compiled("clock.c", tmp_path_factory.mktemp("clock"))
    environment = {"LD_PRELOAD": str(library)}
    twice = python("-c", "import time; print(time.time() > time.time() + 50)")
    assert run(twice, environment=environment).out == "True\n"
    run(ceramic_order("run", database, "--quiet"), environment=environment, seconds=40)
    check(small.contents, read(database))


def test_too_few_open_files_are_reported_with_the_limit_and_nothing_is_changed(
    small: Template, children: Children
) -> None:
    database = small.copy(children.folder)
    before = bytes_of(children.folder)
    limits = {resource.RLIMIT_NOFILE: DESCRIPTORS // 4}
    ended = run(ceramic_order("run", database, "--quiet"), code=2, limits=limits)
    assert f"the limit of this process is `{DESCRIPTORS // 4}`" in ended.err
    assert "Nothing was changed." in ended.err
    assert bytes_of(children.folder) == before


def test_a_soft_limit_of_open_files_is_raised(small: Template, children: Children) -> None:
    database = small.copy(children.folder)
    command = ceramic_order("run", database, "--quiet")
    run(["/bin/sh", "-c", 'ulimit -S -n 40 && exec "$@"', "sh", *command])
    check(small.contents, read(database))


def test_a_run_needs_no_temporary_folder(small: Template, children: Children) -> None:
    if not can("unshare", "--mount", "true"):
        pytest.skip("only root may make a file system read-only for one program")
    database = small.copy(children.folder)
    read_only = 'mount --make-rprivate / && mount --bind "$0" "$0" && '
    read_only += 'mount -o remount,ro,bind / && cd / && exec "$@"'
    command = ceramic_order("run", database, "--quiet")
    run(["unshare", "--mount", "sh", "-c", read_only, children.folder, *command])
    check(small.contents, read(database))


@pytest.mark.parametrize(("most", "code"), [(0, 2), (100_000, 3)])
def test_a_limit_on_the_size_of_files_is_named(
    small: Template, children: Children, most: int, code: int
) -> None:
    database = small.copy(children.folder)
    limits = {resource.RLIMIT_FSIZE: most}
    ended = run(ceramic_order("run", database, "--quiet"), code=code, limits=limits)
    assert f"`ulimit -f` lets no file grow beyond `{most:,}` bytes" in ended.err
    check_rerun(small.contents, database, children)


def test_where_no_file_can_be_made_a_command_that_needs_one_says_so(
    small: Template, children: Children
) -> None:
    database = small.copy(children.folder)
    limits = {resource.RLIMIT_FSIZE: 0}
    ended = run(ceramic_order("verify", database), code=2, limits=limits, cwd=children.folder)
    assert "o usable temporary directory" in ended.err
    assert "Raise the limit `ulimit -f`." in ended.err
    assert list(children.folder.glob("ceramic-order-*")) == []


def test_a_limit_on_the_size_of_files_is_named_for_a_log(
    small: Template, children: Children
) -> None:
    database = small.copy(children.folder)
    command = ceramic_order("replay", database, "-q", "--out", str(children.folder / "log"))
    ended = run(command, code=3, limits={resource.RLIMIT_FSIZE: 0})
    assert "`ulimit -f` lets no file grow beyond `0` bytes" in ended.err
    assert list(children.folder.glob("log/order-*")) == []


@pytest.mark.parametrize("command", ["run", "verify", "replay"])
def test_a_tmpdir_that_is_no_folder_is_named(
    small: Template, children: Children, command: str
) -> None:
    database = small.copy(children.folder)
    before = bytes_of(children.folder)
    more = ["--out", str(children.folder / "log")] if command == "replay" else []
    # a run of few events makes no temporary folder
    takes_none = [] if command == "run" else ["/proc"]
    for named in ("/nowhere", str(database), *takes_none):
        environment = {"TMPDIR": named}
        line = ceramic_order(command, database, "-q", *more)
        ended = run(line, code=2, environment=environment)
        assert f"The folder `{named}` for temporary files can't be used" in ended.err
    assert bytes_of(children.folder) == before


@pytest.fixture
def setpriv() -> list[str]:
    """A command line in front of another, by which root is held to the rights of files."""
    setpriv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if not can(*setpriv, "true"):
        pytest.skip("`setpriv` takes rights from root alone")
    return setpriv


@pytest.mark.parametrize("command", ["run", "verify", "replay"])
def test_a_tmpdir_that_can_not_be_written_to_is_named(
    small: Template, children: Children, setpriv: list[str], tmp_path: Path, command: str
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    database = small.copy(children.folder)
    before = bytes_of(children.folder)
    more = ["--out", str(children.folder / "log")] if command == "replay" else []
    line = [*setpriv, *ceramic_order(command, database, "-q", *more)]
    ended = run(line, code=2, environment={"TMPDIR": str(closed)})
    assert f"The folder `{closed}` for temporary files can't be used" in ended.err
    assert "Nothing was changed." in ended.err
    assert bytes_of(children.folder) == before


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("command", ["run", "status", "why", "missing"])
def test_what_lies_next_to_the_database_and_can_not_be_used_is_named_and_kept(
    small: Template, children: Children, setpriv: list[str], command: str, suffix: str
) -> None:
    database = small.copy(children.folder)
    leave_a_wal(database)
    companion = database.with_name(database.name + suffix)
    before = bytes_of(children.folder)
    companion.chmod(0)
    more = [next(iter(small.contents.numbers)).hex()] if command == "why" else []
    ended = run([*setpriv, *ceramic_order(command, database, *more)], code=2)
    assert ended.err.startswith(f"Error: Can't use `{companion}`: it belongs to user `")
    assert "Nothing was changed." in ended.err
    assert "do not remove it" in ended.err
    companion.chmod(0o600)
    assert bytes_of(children.folder) == before


def test_a_mask_that_takes_the_owners_rights_locks_nobody_out(
    small: Template, children: Children, setpriv: list[str]
) -> None:
    database = small.copy(children.folder)
    script = ["/bin/sh", "-c", 'umask 0777; exec "$@"', "sh"]
    codes = [
        run([*setpriv, *script, *ceramic_order(name, database)], code=None).code
        for name in ("verify", "run", "verify")
    ]
    assert codes[1] == 0
    assert {*codes} <= {0, 1}
    check(small.contents, read(database))
