"""Whether the node can read a block as a capability (CAIP-74).

Its types are `Capability` and those below it in event/src/unvalidated/signed/cacao.rs of
https://github.com/ceramicnetwork/rust-ceramic.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from flows.verify.loose import LooseReader
from flows.verify.walk import NOT_WALKED

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

Part: TypeAlias = Mapping[str, str | None]
"""The fields that a part has, with their texts; None: the field is null, or no text."""


def is_capability(block: bytes) -> bool:
    """Whether a block has all fields of a capability, each of its type."""
    reader = LooseReader(block)
    readers: dict[str, Callable[[], Part]] = {
        "h": lambda: reader.fields({"t": reader.variant}),
        "p": lambda: _payload(reader),
        "s": lambda: _signature(reader),
    }
    try:
        parts = reader.fields(readers)
        reader.end()
    except NOT_WALKED:
        return False
    header, payload, signature = (parts.get(name, {}) for name in readers)
    return (
        header.get("t") in _HEADERS
        and payload.keys() >= {*_TEXTS, "iat"}
        and signature.get("t") in _SIGNATURES
        and "s" in signature
    )


def _payload(reader: LooseReader) -> Part:
    return reader.fields(
        {
            **dict.fromkeys((*_TEXTS, "iat"), reader.text),
            **dict.fromkeys((*_TIMES, *_OPTIONAL_TEXTS), lambda: reader.optional(reader.text)),
            "resources": lambda: reader.optional(reader.texts),
        }
    )


def _signature(reader: LooseReader) -> Part:
    return reader.fields(
        {
            "m": lambda: reader.optional(reader.untagged_value),
            "t": reader.variant,
            "s": reader.text,
        }
    )
