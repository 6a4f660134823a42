"""Whether the node can read a block as a capability (CAIP-74).

Its types are `Capability` and those below it in event/src/unvalidated/signed/cacao.rs of
https://github.com/ceramicnetwork/rust-ceramic.
"""

from typing import Any

from flows.verify.loose import Reader, is_value

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
        is_value(parts.get("s", {}).get("m"))
        and parts.keys() == {"h", "p", "s"}
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
            "m": lambda: reader.optional(reader.untagged_value),
            "t": reader.variant,
            "s": reader.text,
        }
    )
