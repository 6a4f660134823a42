"""Long texts in a base that is no power of two are read as short ones are, in a bounded time."""

import time
from random import Random

import pytest
from libipld import decode_multibase, encode_multibase

from operators.encoding.multibase import decode_text

BASES = ("9", "k", "K", "z", "Z")


@pytest.mark.parametrize("base", BASES)
def test_a_long_text_stands_for_the_bytes_that_were_encoded(base: str) -> None:
    rng = Random(base)
    for zeros, size in ((0, 5000), (3, 5001), (5000, 0), (4999, 1)):
        content = bytes(zeros) + b"\1" * (size > 0) + rng.randbytes(max(0, size - 1))
        text = encode_multibase(base, content)
        assert decode_text(text) == decode_multibase(text)[1] == content


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("odd", ["+", "é", " "])
def test_a_long_text_with_a_character_that_is_no_digit_stands_for_nothing(
    base: str, odd: str
) -> None:
    text = f"{base}{'2' * 3000}{odd}{'2' * 3000}"
    with pytest.raises(ValueError, match=r".+"):
        decode_text(text)
    with pytest.raises(ValueError, match=r".+"):
        decode_multibase(text)


def test_ten_times_as_many_digits_do_not_take_a_hundred_times_as_long() -> None:
    def seconds(digits: int) -> float:
        started = time.process_time()
        decode_text("z" + "2" * digits)
        return time.process_time() - started

    # what else the machine does makes some take longer, none shorter
    few, many = (min(seconds(digits) for _ in range(5)) for digits in (20_000, 200_000))
    assert many < 60 * few
