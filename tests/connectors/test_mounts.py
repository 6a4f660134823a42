"""A file with a second name by a mount is found, whoever made the mount."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.mounts import Mount, file_system, is_shared, second_name
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of
from tests.support.program import Ended, can, ceramic_order, ready, run

WITH_MOUNTS = ["unshare", "--mount", "--propagation", "private"]


def can_mount() -> bool:
    return can(*WITH_MOUNTS, "true")


needs_mounts = pytest.mark.skipif(
    "not can_mount()", reason="mounts need the rights of root and `unshare`"
)


def run_with_mount(source: Path, target: Path, database: Path) -> Ended:
    """Run on `database` in a process that has `source` mounted at `target`."""
    script = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    job = ceramic_order("run", database, "--quiet")
    return run([*WITH_MOUNTS, "sh", "-c", script, "sh", source, target, *job], code=None)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A database, and another folder with an empty file."""
    (tmp_path / "host").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a b\\.db").touch()
    return store(tmp_path / "host" / "node.db", chain(3))


@needs_mounts
@pytest.mark.parametrize("name", ["host/node.db", "data/a b\\.db"])
def test_a_file_that_is_mounted_alone_is_refused_by_both_names(
    host: Path, tmp_path: Path, name: str
) -> None:
    before = bytes_of(host.parent)
    mounted = tmp_path / "data" / "a b\\.db"
    ended = run_with_mount(host, mounted, tmp_path / name)
    assert ended.code == 2
    assert "is mounted as a single file: its other name is `/" in ended.err
    other = host if name.startswith("data") else mounted
    assert other.name in ended.err.partition("its other name is")[2]
    assert "Mount the folder" in ended.err
    assert bytes_of(host.parent) == before


@needs_mounts
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_companion_that_is_a_mount_is_refused(host: Path, tmp_path: Path, suffix: str) -> None:
    companion, other = host.with_name(host.name + suffix), tmp_path / "other"
    for file in (companion, other):
        file.write_bytes(b"something")
    before = bytes_of(tmp_path)
    ended = run_with_mount(other, companion, host)
    assert ended.code == 2
    assert f"`{companion}` is a mount of its own" in ended.err
    assert bytes_of(tmp_path) == before


@needs_mounts
def test_a_mount_of_the_folder_is_as_good_as_the_folder(host: Path, tmp_path: Path) -> None:
    ended = run_with_mount(host.parent, tmp_path / "data", tmp_path / "data" / "node.db")
    assert (ended.code, ended.err) == (0, "")


@needs_mounts
@pytest.mark.parametrize("name", ["of\u2028two\x85lines", "with a form\ffeed", "no UTF-8 \udcff"])
def test_mounts_may_have_any_name(host: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    ended = run_with_mount(host.parent, tmp_path / name, tmp_path / name / "node.db")
    assert (ended.code, ended.err) == (0, "")


@needs_mounts
def test_a_mount_that_only_another_process_sees_is_found(host: Path, tmp_path: Path) -> None:
    script = 'mount --bind "$1" "$2" && echo mounted && cat'
    mounted = tmp_path / "data" / "a b\\.db"
    with ready([*WITH_MOUNTS, "sh", "-c", script, "sh", host, mounted]):
        assert second_name(host) == str(mounted)
    assert second_name(host) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows mounts")
def test_the_file_system_is_named() -> None:
    assert file_system(Path("/proc/self/stat")) == "proc"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "virtiofs", "9p"])
def test_file_systems_that_other_machines_work_on_are_known(kind: str) -> None:
    assert is_shared(Mount("0:1", "/", "/data", kind))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "fuse.gocryptfs", "fuseblk", "overlay"])
def test_a_file_system_of_this_machine_is_not_taken_for_one_of_others(kind: str) -> None:
    assert not is_shared(Mount("0:1", "/", "/data", kind))


@pytest.mark.parametrize("kind", ["9p", "virtiofs", "nfs4"])
def test_the_root_of_this_machine_is_its_own(kind: str) -> None:
    assert not is_shared(Mount("0:1", "/", "/", kind))


@pytest.fixture
def through_fuse(host: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """The folder of the database once more, by a program that calls its file system so."""
    there = tmp_path / "there"
    there.mkdir()

    def mounted(kind: str) -> Path:
        if not can("bindfs", "-o", f"subtype={kind}", host.parent, there):
            pytest.skip("`bindfs` and FUSE are not here")
        return there / host.name

    yield mounted
    if there.is_mount():
        run(["umount", "--lazy", there])


def test_a_run_refuses_a_database_that_another_machine_could_have_open(
    through_fuse: Callable[[str], Path], host: Path
) -> None:
    before = bytes_of(host.parent)
    database = through_fuse("sshfs")
    ended = run(ceramic_order("run", database), code=2)
    assert ended.err.startswith(f"Error: `{database}` lies on the file system `fuse.sshfs`: a node")
    assert "Nothing was changed. Run on the machine whose disk it is" in ended.err
    assert bytes_of(host.parent) == before
    assert run(ceramic_order("run", database, "--dry-run", "--json")).document["delivered"] == 2


def test_folders_go_where_a_file_that_is_removed_while_it_is_open_stays(
    through_fuse: Callable[[str], Path], host: Path
) -> None:
    database = through_fuse("plain")
    run(ceramic_order("synth", database.with_name("made.db"), "--streams", 2))
    run(ceramic_order("replay", database, "--out", database.with_name("log")))
    run(ceramic_order("run", database, "--report", database.with_name("report")))
    assert [*host.parent.rglob("ceramic-order-*")] == []
