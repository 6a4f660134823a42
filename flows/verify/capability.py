"""Whether the node can read a block as a capability (CAIP-74).

Its types are `Capability` and those below it in event/src/unvalidated/signed/cacao.rs of
https://github.com/ceramicnetwork/rust-ceramic.
"""

from typing import Any

from flows.verify.loose import Reader

_HEADERS = {"eip4361", "caip122"}
_SIGNATURES = {
    "eip191",
    "eip1271",
    "solana:ed25519",
    "tezos:ed25519",
    "stacks:secp256k1",
    "webauthn:p256",
    "jws",
}
_TEXTS = ("aud", "domain", "iss", "nonce", "version")
_TIMES = ("exp", "nbf")
_OPTIONAL_TEXTS = ("requestId", "statement")
_LARGEST_INTEGER = (1 << 63) - 1


def is_capability(block: bytes) -> bool:
    """Whether these bytes have all fields of a capability, each of its type."""
    reader = Reader(block)
    try:
        parts = reader.fields(
            {
                "h": lambda: reader.fields({"t": reader.variant}),
                "p": lambda: _payload(reader),
                "s": lambda: _signature(reader),
            }
        )
        reader.end()
    except ValueError:
        return False
    return (
        parts.keys() == {"h", "p", "s"}
        and parts["h"].get("t") in _HEADERS
        and parts["p"].keys() >= {*_TEXTS, "iat"}
        and parts["s"].get("t") in _SIGNATURES
        and "s" in parts["s"]
    )


def _payload(reader: Reader) -> dict[str, Any]:
    def texts() -> list[str]:
        return reader.items(reader.text)

    return reader.fields(
        {
            **dict.fromkeys((*_TEXTS, "iat"), reader.text),
            **dict.fromkeys((*_TIMES, *_OPTIONAL_TEXTS), lambda: reader.optional(reader.text)),
            "resources": lambda: reader.optional(texts),
        }
    )


def _signature(reader: Reader) -> dict[str, Any]:
    return reader.fields(
        {
            "m": lambda: reader.optional(lambda: _metadata(reader)),
            "t": reader.variant,
            "s": reader.text,
        }
    )


def _metadata(reader: Reader) -> None:
    """Read the fields of `m`: two texts, and others that are texts, booleans, null or integers."""
    with reader.untagged():
        fields = reader.fields({"alg": reader.text, "kid": reader.text}, reader.value)
    if not fields.keys() >= {"alg", "kid"} or not all(map(_is_plain, fields.values())):
        raise ValueError("no metadata of a signature")


def _is_plain(value: Any) -> bool:
    if type(value) is int:
        return value <= _LARGEST_INTEGER
    if type(value) is bytes:
        try:
            value.decode()
        except ValueError:
            return False
        return True
    return value is None or type(value) in {bool, str}
