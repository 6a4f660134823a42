"""The capability of a protected header, and its CID in any base."""

from base64 import b32encode, b32hexencode, b64encode, urlsafe_b64encode
from json import dumps

import pytest

from flows.synth.events import block
from flows.verify.bases import bytes_of_text
from flows.verify.cids import cid_at_start, cid_text
from flows.verify.protected import capability_cid

CBOR = block(b"b").cid
JOSE = b"\x01\x85\x01" + CBOR[2:]
KECCAK = b"\x01\x93\x01\x1b\x20" + bytes(32)
CID_V0 = b"\x12\x20" + bytes(32)
LARGE_CODEC = b"\x01\xf1\xd9\xf0\x02" + CBOR[2:]
URI = f"ipfs://{cid_text(CBOR)}"
CAP = f'"cap":"{URI}"'


@pytest.mark.parametrize(
    "header",
    [
        f"{{{CAP}}}",
        f' {{ "alg" : "a" , {CAP} , "kid" : "k" }} \n',
        f"{{{CAP}}}".replace("cap", "\\u0063ap"),
        f"{{{CAP}}}".replace("//", "\\/\\/"),
        f'["{URI}"]',
        f'{{"a":1,"a":2,{CAP}}}',
        f'{{"a":{"9" * 5000},{CAP}}}',
        f'{{"a":{"[" * 1000}{"]" * 1000},{CAP}}}',
        f'{{"a":[1,{{"b":[{{}},-0.5e+9]}},"\\ud800"],{CAP}}}',
    ],
)
def test_a_header_names_the_capability_in_its_field(header: str) -> None:
    assert capability_cid(header.encode()) == CBOR


@pytest.mark.parametrize(
    "header",
    [
        "{}",
        "[]",
        "cap",
        "null",
        '{"cap":null}',
        '{"cap":1}',
        f'{{"cap":["{URI}"]}}',
        '{"cap":"https://x"}',
        '{"cap":"ipfs://junk"}',
        f'{{"cap":"{cid_text(CBOR)}"}}',
        f'{{"cap":"{URI.upper()}"}}',
        f'["{URI}",1]',
        f"{{{CAP},{CAP}}}",
        f"{{{CAP},}}",
        f"{{{CAP}}} x",
        f"\ufeff{{{CAP}}}",
        f'{{"a":NaN,{CAP}}}',
        f'{{"a":01,{CAP}}}',
        f'{{"a":[1,],{CAP}}}',
        f'{{"a":"\t",{CAP}}}',
        f'{{"\\ud800":1,{CAP}}}',
        f'{{"cap":"\\ud800{URI}"}}',
        '{"cap":' * 100_000,
    ],
)
def test_a_header_that_the_node_can_not_read_names_none(header: str) -> None:
    assert capability_cid(header.encode()) is None


def test_a_header_must_be_utf_8_only_where_it_is_read() -> None:
    header = f'{{"a":"?",{CAP}}}'.encode()
    assert capability_cid(header.replace(b"?", b"\xff")) == CBOR
    assert capability_cid(header.replace(b'"a"', b'"\xff"')) is None
    assert capability_cid(header.decode().encode("utf-16")) is None


def capability_of(text: str) -> bytes | None:
    """The CID that a header names by this text."""
    return capability_cid(dumps({"cap": f"ipfs://{text}"}).encode())


def bare(text: bytes) -> str:
    """Without what fills it to a multiple of characters."""
    return text.decode().rstrip("=")


@pytest.mark.parametrize("cid", [CBOR, JOSE, KECCAK, LARGE_CODEC, CBOR + b"more"])
def test_a_cid_is_read_in_any_base(cid: bytes) -> None:
    number = int.from_bytes(cid)
    for text in (
        f"f{cid.hex()}",
        f"F{cid.hex().upper()}",
        f"F{cid.hex()}",
        f"b{bare(b32encode(cid)).lower()}",
        f"b{bare(b32encode(cid))}",
        f"C{b32encode(cid).decode()}",
        f"v{bare(b32hexencode(cid)).lower()}",
        f"m{bare(b64encode(cid))}",
        f"M{b64encode(cid).decode()}",
        f"u{bare(urlsafe_b64encode(cid))}",
        f"0{number:0{8 * len(cid)}b}",
        f"9{number}",
        f"x/ipfs/{cid_text(cid)}",
    ):
        assert capability_of(text) == cid_at_start(cid), text


def test_published_texts_are_read() -> None:
    old = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
    new = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34"
    assert capability_of(new) == b"\x01\x70" + (capability_of(old) or b"")
    for text in ("zyip1", "k2lcpzo5yikidynfl", "Z7Pznk19XTTzBtx"):
        assert bytes_of_text(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "z",
        "Qm",
        "bafy",
        "mAXESIA",
        "b1",
        "z0",
        "f0171",
        "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho3",
        f" {cid_text(CBOR)}",
        f"{cid_text(CBOR)}=",
        f"M{b64encode(CBOR + bytes(2)).decode()}"[:-1],
        CBOR.hex(),
    ],
)
def test_other_texts_are_no_cid(text: str) -> None:
    assert capability_of(text) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        CBOR[:-1],
        b"\x00" + CBOR,
        b"\x02" + CBOR[1:],
        CID_V0[:-1],
        b"\x01\x71\x12",
        b"\x01\x71\x13\x41" + bytes(65),
        b"\x01\xf1\x00" + CBOR[2:],
        b"\x81" * 20,
    ],
)
def test_other_bytes_begin_with_no_cid(content: bytes) -> None:
    assert cid_at_start(content) is None


@pytest.mark.parametrize("cid", [CBOR, JOSE, KECCAK, CID_V0, LARGE_CODEC])
def test_what_follows_a_cid_is_cut(cid: bytes) -> None:
    assert cid_at_start(cid) == cid
    assert cid_at_start(cid + b"more") == cid
