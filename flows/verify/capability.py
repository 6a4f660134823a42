"""Whether the node can read a block as a capability (CAIP-74).

Its types are `Capability` and those below it in event/src/unvalidated/signed/cacao.rs of
https://github.com/ceramicnetwork/rust-ceramic.
"""

from flows.verify.loose import Cbor, Map, Reader, is_value

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
    header, payload, signature = (_fields(parts.get(name)) for name in ("h", "p", "s"))
    return (
        header.get("t") in _HEADERS
        and payload.keys() >= {*_TEXTS, "iat"}
        and signature.get("t") in _SIGNATURES
        and "s" in signature
        and is_value(signature.get("m"))
    )


def _fields(part: Cbor) -> dict[str, Cbor]:
    """The fields of a part, none if it is not there."""
    return part if isinstance(part, dict) and not isinstance(part, Map) else {}


def _payload(reader: Reader) -> dict[str, Cbor]:
    def texts() -> list[Cbor]:
        return [*reader.items(reader.text)]

    return reader.fields(
        {
            **dict.fromkeys((*_TEXTS, "iat"), reader.text),
            **dict.fromkeys((*_TIMES, *_OPTIONAL_TEXTS), lambda: reader.optional(reader.text)),
            "resources": lambda: reader.optional(texts),
        }
    )


def _signature(reader: Reader) -> dict[str, Cbor]:
    return reader.fields(
        {
            "m": lambda: reader.optional(reader.untagged_value),
            "t": reader.variant,
            "s": reader.text,
        }
    )
