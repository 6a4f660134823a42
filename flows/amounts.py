"""Amounts of memory, as people write them."""

import re

MEGABYTE = 10**6
_UNITS = {"mb": 10**6, "gb": 10**9, "tb": 10**12, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([a-z]+)", re.IGNORECASE)


def amount(text: str) -> int:
    """The bytes in an amount of memory like `500MB` or `4 GiB`.

    Raises:
        ValueError: it is none.
    """
    parts = _AMOUNT.fullmatch(text.strip())
    if parts is None or parts[2].lower() not in _UNITS:
        raise ValueError(f"`{text}` is no amount of memory: give one like `500MB` or `4GB`")
    return int(float(parts[1]) * _UNITS[parts[2].lower()])
