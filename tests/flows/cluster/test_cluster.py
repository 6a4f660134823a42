"""A cluster: several processes do what one does, or say in a sentence why they can't."""

import re
import socket
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM
from threading import Thread

import pytest

from tests.flows.cluster.conftest import Sample
from tests.support import program
from tests.support.cluster import (
    PATIENCE,
    addresses,
    await_connections,
    cluster,
    ended,
    order_of,
    process,
)
from tests.support.oracle import check, read
from tests.support.other_programs import bytes_of, execute_elsewhere
from tests.support.program import python


def test_three_processes_do_what_one_does(sample: Sample, tmp_path: Path) -> None:
    path, copy = sample.copy(tmp_path / "here"), sample.copy(tmp_path / "there")
    there = bytes_of(copy.parent)
    first, *others = cluster([path, path, copy], partitions=3)
    assert [each.code for each in (first, *others)] == [0, 0, 0], (first, others)
    assert list(bytes_of(path.parent)) == [path.name]
    assert bytes_of(copy.parent) == there
    for other in others:
        assert re.match(r"[1-9][\d,]+ events read for process 0, which says: ", other.err)
        assert other.err.endswith(first.err)
    assert first.err.startswith(
        f"{len(check(sample.contents, read(path))):,} events delivered, numbers "
    )
    assert sample.digest(path) == sample.wanted


ATTEMPTS = 5
"""To end one process while it is at work."""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
@pytest.mark.parametrize(
    ("killed", "number"),
    [(0, SIGKILL), (1, SIGKILL), pytest.param(1, SIGTERM, marks=pytest.mark.soak)],
)
def test_where_one_process_ends_midway_all_do_and_a_rerun_finishes(
    killed: int, number: int, sample: Sample, tmp_path: Path
) -> None:
    # on a busy machine all may be done before the signal comes
    for attempt in range(ATTEMPTS):
        path = sample.copy(tmp_path / f"here-{attempt}")
        places = addresses(2)
        flow = order_of(path, wait_seconds=PATIENCE)
        processes = [process(at, flow, places) for at in (0, 1)]
        # each process has a line to process 0, and Bytewax a connection
        await_connections(processes, places[0], 2)
        processes[killed].send_signal(number)
        left = ended(processes)[1 - killed]
        if left.code:
            break
    what = "stopped: Stopped by `SIGTERM`" if number == SIGTERM else "is gone: it was killed"
    assert left.code == 1, left
    assert left.err.startswith(f"Error: Process `{killed}` at `{places[killed]}` {what}"), left
    assert left.err.endswith("kept. Start all processes again: they finish the job.\n")
    assert cluster([path, path])[0].code == 0
    assert sample.digest(path) == sample.wanted


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_moment_all_end_and_a_rerun_finishes(
    seed: int, sample: Sample, tmp_path: Path
) -> None:
    path, rng = sample.copy(tmp_path / "here"), Random(seed)
    places, killed = addresses(3), rng.randrange(3)
    # many transactions: a kill may come between them
    flow = order_of(path, wait_seconds=PATIENCE, partitions=3, batch_rows=500)
    processes = [process(at, flow, places, "-s", 0) for at in range(3)]
    await_connections(processes, places[0], 4)
    time.sleep(rng.uniform(0, 2))
    processes[killed].kill()
    first, *others = (each for at, each in enumerate(ended(processes)) if at != killed)
    # it may have come to its end before
    assert {first.code, *(each.code for each in others)} <= {0, 1}
    assert all(each.err for each in (first, *others))
    program.run(python("-m", "bytewax.run", order_of(path)))
    assert sample.digest(path) == sample.wanted


def test_a_copy_of_another_state_is_refused_by_all(sample: Sample, tmp_path: Path) -> None:
    path, copy = sample.copy(tmp_path / "here"), sample.copy(tmp_path / "there")
    newer = "UPDATE ceramic_one_event SET delivered = 999999 WHERE rowid = 9000"
    execute_elsewhere(copy, newer)
    folders = (path.parent, copy.parent)
    held = [bytes_of(folder) for folder in folders]
    first, second, other = cluster([path, path, copy])
    assert [first.code, second.code, other.code] == [2, 2, 2]
    why = f"`{copy}` is a copy of another state than the database of process `0`: `undelivered` is"
    assert other.err.startswith(f"Error: {why}")
    for each in (first, second):
        assert f" can't start: {why}" in each.err
        assert each.err.endswith("Nothing was changed. Copy it anew while the node is stopped.\n")
    assert [bytes_of(folder) for folder in folders] == held


class Passage:
    """Passes on what comes to an address, and counts the bytes of both directions."""

    def __init__(self, place: str) -> None:
        host, port = place.split(":")
        self._onward = (host, int(port))
        listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [listener]
        self.bytes = 0
        self.place = f"127.0.0.1:{listener.getsockname()[1]}"
        Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Close everything."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._sockets.append(connection)
                try:
                    onward = socket.create_connection(self._onward)
                except OSError:  # nobody listens there yet
                    connection.close()
                    continue
                self._sockets.append(onward)
                for ends in ((connection, onward), (onward, connection)):
                    Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while some := source.recv(1 << 16):
                self.bytes += len(some)
                target.sendall(some)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.mark.soak
def test_an_event_takes_few_bytes_on_the_wire(sample: Sample, tmp_path: Path) -> None:
    path = sample.copy(tmp_path / "here")
    places = addresses(2)
    flow = order_of(path, wait_seconds=PATIENCE, partitions=2)
    with closing(Passage(places[0])) as passage:
        by_passage = [passage.place, places[1]]
        processes = [process(0, flow, places), process(1, flow, by_passage)]
        assert [each.code for each in ended(processes)] == [0, 0]
    events = len(check(sample.contents, read(path)))
    # two CIDs of 36 bytes and a stream, for half of them; a row and a level for some
    assert 20 < passage.bytes / events < 160
