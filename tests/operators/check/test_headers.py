"""Usual protected headers name what reading each by itself says; others are left to that."""

import json
from random import Random

import pyarrow as pa
from cbrrr import encode_dag_cbor
from libipld import encode_cid

from operators.check.event import named_capability
from operators.check.headers import usual_capabilities
from operators.encoding.layouts import CBOR_CID

CID = CBOR_CID + bytes(range(32))
USUAL = f'{{"alg":"EdDSA","cap":"ipfs://{encode_cid(CID)}","kid":"did:key:z6Mk#z6Mk"}}'.encode()


def assert_named_alike(headers: list[bytes]) -> int:
    """Hold what the columns say against each header by itself; how many are usual."""
    column = pa.array([encode_dag_cbor(header) for header in headers], pa.binary())
    digests, usual = usual_capabilities(column)
    for header, digest, is_usual in zip(headers, digests, usual, strict=True):
        if is_usual:
            name = named_capability(header)
            assert name is not None, header
            assert name.binary == CBOR_CID + digest.tobytes(), header
    return int(usual.sum())


def test_what_clients_write_is_usual() -> None:
    rng = Random(1)
    headers = [
        json.dumps(
            {
                "alg": "EdDSA",
                "cap": f"ipfs://{encode_cid(CBOR_CID + rng.randbytes(32))}",
                "kid": f"did:key:{'z' * rng.randrange(300)}",
            },
            separators=(",", ":"),
        ).encode()
        for _ in range(300)
    ]
    assert assert_named_alike(headers) == 300


def test_mutants_of_headers_are_read_as_each_by_itself() -> None:
    rng = Random(2)
    odd = b'"\\\x00\x1f\x7f\x80\xff{}:,AZaz0189= '
    headers = [USUAL * 2, b"", b"{}", USUAL[:-1], USUAL[:99], USUAL.replace(b"did", "dïd".encode())]
    for _ in range(5000):
        header = bytearray(USUAL)
        at = rng.randrange(len(header))
        change = rng.randrange(4)
        if change == 0:
            header[at] = rng.choice(odd)
        elif change == 1:
            del header[at]
        elif change == 2:
            header[at:at] = bytes([rng.choice(odd)])
        else:
            header[at] ^= 1 << rng.randrange(8)
        headers.append(bytes(header))
    assert 300 < assert_named_alike(headers) < 4000


def test_no_header_is_no_header() -> None:
    assert assert_named_alike([]) == 0
