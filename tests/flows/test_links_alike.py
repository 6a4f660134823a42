"""A link to a block that is not there never passes for one to a block that begins alike."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from flows.init_scan import ScanSettings
from flows.lookups import LookUps, LookUpSettings
from operators.encoding.columns import short
from tests.support.job import chain, store


def alike(cid: bytes) -> bytes:
    """A CID that differs from this one in its last byte."""
    return cid[:-1] + bytes([cid[-1] ^ 1])


def test_a_digest_of_16_bytes_tells_apart_what_differs_in_any_byte() -> None:
    digest = bytes(range(32))
    changed = [digest[:at] + bytes([digest[at] ^ 32]) + digest[at + 1 :] for at in range(32)]
    words = pa.array([digest, *changed], pa.binary(32)).buffers()[1]
    assert words is not None
    table = np.frombuffer(words, dtype=np.uint64).reshape(-1, 4)
    assert len({key.tobytes() for key in short(table)}) == 33


def test_a_parent_that_begins_like_a_delivered_init_event_is_not_known(tmp_path: Path) -> None:
    init = chain(2)[0]
    path = store(tmp_path / "node.db", chain(2), [1, None])
    look_ups = LookUps(path, settings=LookUpSettings(scan=ScanSettings(0.0)))
    try:
        assert look_ups.init_scan.done.result()
        found = look_ups.parents(pa.array([init.cid, alike(init.cid)], pa.binary()))
    finally:
        look_ups.close()
    assert found["cid"].to_pylist() == [init.cid]
