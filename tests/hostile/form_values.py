"""Values that encoders may write in other ways than DAG-CBOR asks for, and depth."""

from tests.support.blocks import link

_DIGEST = bytes([0x12, 0x20]) + bytes(32)
_LINK = link(b"\x01\x71" + _DIGEST)

VALUES: dict[str, tuple[bool, bytes]] = {
    "a number in nine bytes that fits one": (True, b"\x1b" + bytes(7) + b"\x01"),
    "the largest number": (True, b"\x1b" + b"\xff" * 8),
    "-2^63": (True, b"\x3b\x7f" + b"\xff" * 7),
    "-2^63 - 1": (False, b"\x3b\x80" + bytes(7)),
    "-2^64": (False, b"\x3b" + b"\xff" * 8),
    "a text with a long head": (True, b"\x78\x01a"),
    "bytes with a long head": (True, b"\x58\x01a"),
    "a list with a long head": (True, b"\x98\x01\x01"),
    "a map with a long head": (True, b"\xb8\x01\x61a\x01"),
    "a link with a long tag": (True, b"\xd9\x00\x2a" + _LINK[2:]),
    "a link in parts": (True, b"\xd8\x2a\x5f\x41\x00\x58\x24\x01\x71" + _DIGEST + b"\xff"),
    "a link in parts of parts": (True, b"\xd8\x2a\x5f\x5f" + _LINK[2:] + b"\xff\xff"),
    "a float of 16 bits": (False, b"\xf9\x3c\x00"),
    "a float of 32 bits": (True, b"\xfa\x3f\x80\x00\x00"),
    "not a number": (False, b"\xfb\x7f\xf8" + bytes(6)),
    "not a number, in 32 bits": (False, b"\xfa\x7f\xc0\x00\x00"),
    "infinity": (False, b"\xfb\x7f\xf0" + bytes(6)),
    "-0.0": (True, b"\xfb\x80" + bytes(7)),
    "bytes without a length": (False, b"\x5f\x41a\xff"),
    "a text without a length": (False, b"\x7f\x61a\xff"),
    "a list without a length": (False, b"\x9f\x01\xff"),
    "a map without a length": (False, b"\xbf\x61a\x01\xff"),
    "a date by tag": (False, b"\xc1\x01"),
    "tag 43": (False, b"\xd8\x2b" + _LINK[2:]),
    "undefined": (False, b"\xf7"),
    "a simple value": (False, b"\xf8\x20"),
    "keys out of order": (True, b"\xa2\x61b\x01\x61a\x02"),
    "keys in the order of their bytes": (True, b"\xa2\x62aa\x01\x61b\x02"),
    "a key twice": (False, b"\xa2\x61a\x01\x61a\x02"),
    "a key that is a number": (False, b"\xa1\x01\x01"),
    "a key that is a byte string": (True, b"\xa1\x41a\x01"),
    "a text that is no UTF-8": (False, b"\x62\xff\xfe"),
    "a link without the zero": (False, b"\xd8\x2a\x58\x24\x01\x71" + _DIGEST),
    "a link to half a CID": (False, link(b"\x01\x71" + _DIGEST[:18])),
    "a link to a CID and more": (True, link(b"\x01\x71" + _DIGEST + b"\x00\x00")),
    "a link to a CID of version 0": (True, link(_DIGEST)),
    "a link to a CID of version 2": (False, link(b"\x02\x71" + _DIGEST)),
    "a link with a codec in a byte too many": (False, link(b"\x01\xf1\x00" + _DIGEST)),
    "lists, 126 deep": (True, b"\x81" * 126 + b"\x01"),
    "lists, 127 deep": (False, b"\x81" * 127 + b"\x01"),
    "lists, 900 deep": (False, b"\x81" * 900 + b"\x01"),
    "lists, 1,100 deep": (False, b"\x81" * 1100 + b"\x01"),
    "maps, 127 deep": (False, b"\xa1\x61a" * 127 + b"\x01"),
}
"""Encoded values of `data`, and whether a node takes them."""
