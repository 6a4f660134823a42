"""Keccak-256 by its published vectors, with the padding of Ethereum."""

import pytest

from flows.verify.keccak import keccak_256

VECTORS = {
    b"": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
    b"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
    b"hello": "1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8",
    b"The quick brown fox jumps over the lazy dog": "4d741b6f1eb29cb2a9b9911c82f56fa8d73b04959d3d9d222895df6c0b28aa15",
    b"transfer(address,uint256)": "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b",
    b"Transfer(address,address,uint256)": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
}
"""The last two are the selector and the event topic of every token contract."""


@pytest.mark.parametrize("message", VECTORS)
def test_published_vectors(message: bytes) -> None:
    assert keccak_256(message).hex() == VECTORS[message]


def test_messages_around_the_length_of_a_round() -> None:
    assert (
        keccak_256(b"a" * 135).hex()
        == "34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446"
    )
    assert (
        keccak_256(b"a" * 136).hex()
        == "a6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e"
    )
    assert len({keccak_256(bytes(length)) for length in range(130, 280)}) == 150
