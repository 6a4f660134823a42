"""Multibase: the texts of a CID, as the node reads them; the first character names the base.

A text is refused where its digits make no whole number of bytes, or where bits that are left over
are not zero. Digits of the bases 16, 32, 36 and 45 may be of either case.
"""

from collections.abc import Iterable

_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_BASE32 = f"{_LOWER}234567"
_BASE32_HEX = f"{_DIGITS}{_LOWER[:22]}"
_BASE64 = f"{_LOWER.upper()}{_LOWER}{_DIGITS}"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

_BITS = {
    "0": ("01", 1),
    "7": ("01234567", 3),
    "f": ("0123456789abcdef", 4),
    "F": ("0123456789abcdef", 4),
    "h": ("ybndrfg8ejkmcpqxot1uwisza345h769", 5),
    **dict.fromkeys("bBcC", (_BASE32, 5)),
    **dict.fromkeys("vVtT", (_BASE32_HEX, 5)),
    **dict.fromkeys("mM", (f"{_BASE64}+/", 6)),
    **dict.fromkeys("uU", (f"{_BASE64}-_", 6)),
}
"""The alphabet of each base whose digits each stand for some bits, and how many bits."""

_EITHER_CASE = frozenset("fFbBcCvVtTkKR")
"""The bases whose digits may be of either case."""

_TOGETHER = 512
"""How many digits are made one number; a multiple of eight, so that they make whole bytes in each
of `_BITS`."""

_PADDED = {**dict.fromkeys("cCtT", 8), **dict.fromkeys("MU", 4)}
"""Bases whose texts end with `=` up to a multiple of so many characters."""

_NUMBERS = {
    "9": _DIGITS,
    "k": f"{_DIGITS}{_LOWER}",
    "K": f"{_DIGITS}{_LOWER}",
    "z": _BASE58,
    "Z": f"123456789{_BASE58[33:]}{_BASE58[9:33]}",
}
"""The alphabet of each base whose digits are one number; leading zeros stand for zero bytes."""

_BASE45 = f"{_DIGITS}{_LOWER} $%*+-./:"
_EMOJI = (
    "🚀🪐☄🛰🌌🌑🌒🌓🌔🌕🌖🌗🌘🌍🌏🌎🐉☀💻🖥💾💿😂❤😍🤣😊🙏💕😭😘👍"
    "😅👏😁🔥🥰💔💖💙😢🤔😆🙄💪😉☺👌🤗💜😔😎😇🌹🤦🎉💞✌✨🤷😱😌🌸🙌"
    "😋💗💚😏💛🙂💓🤩😄😀🖤😃💯🙈👇🎶😒🤭❣😜💋👀😪😑💥🙋😞😩😡🤪👊🥳"
    "😥🤤👉💃😳✋😚😝😴🌟😬🙃🍀🌷😻😓⭐✅🥺🌈😈🤘💦✔😣🏃💐☹🎊💘😠☝"
    "😕🌺🎂🌻😐🖕💝🙊😹🗣💫💀👑🎵🤞😛🔴😤🌼😫⚽🤙☕🏆🤫👈😮🙆🍻🍃🐶💁"
    "😲🌿🧡🎁⚡🌞🎈❌✊👋😰🤨😶🤝🚶💰🍓💢🤟🙁🚨💨🤬✈🎀🍺🤓😙💟🌱😖👶"
    "🥴▶➡❓💎💸⬇😨🌚🦋😷🕺⚠🙅😟😵👎🤲🤠🤧📌🔵💅🧐🐾🍒😗🤑🌊🤯🐷☎"
    "💧😯💆👆🎤🙇🍑❄🌴💣🐸💌📍🥀🤢👅💡💩👐📸👻🤐🤮🎼🥵🚩🍎🍊👼💍📣🥂"
)
"""The alphabet of base 256: one character for each byte."""


def bytes_of_text(text: str) -> bytes | None:
    """The bytes that a multibase text stands for, None if it stands for none."""
    base, digits = text[:1], text[1:]
    if base in _EITHER_CASE:
        # ASCII alone: the lower case of some other characters is a digit too
        digits = "".join(one.lower() if one.isascii() else one for one in digits)
    try:
        return _bytes(base, digits)
    except ValueError:
        return None


def _bytes(base: str, digits: str) -> bytes:
    if base == "\0":
        return digits.encode()
    if base in _BITS:
        return _of_bits(_unpadded(digits, _PADDED.get(base)), *_BITS[base])
    if base in _NUMBERS:
        return _of_number(digits, _NUMBERS[base])
    if base == "R":
        return _of_base45(digits)
    if base == _EMOJI[0]:
        return bytes(_places(digits, _EMOJI))
    raise ValueError(base)


def _unpadded(digits: str, length: int | None) -> str:
    if length is None:
        return digits
    bare = digits.rstrip("=")
    if len(digits) % length or len(digits) - len(bare) >= length:
        raise ValueError(digits)
    return bare


def _places(digits: str, alphabet: str) -> Iterable[int]:
    return map(alphabet.index, digits)


def _of_bits(digits: str, alphabet: str, bits: int) -> bytes:
    whole = bytearray()
    for start in range(0, len(digits), _TOGETHER):
        part = digits[start : start + _TOGETHER]
        value = 0
        for place in _places(part, alphabet):
            value = value << bits | place
        left = len(part) * bits % 8
        if left >= bits or value & ((1 << left) - 1):
            raise ValueError(digits)
        whole += (value >> left).to_bytes(len(part) * bits // 8)
    return bytes(whole)


def _of_number(digits: str, alphabet: str) -> bytes:
    bare = digits.lstrip(alphabet[0])
    # so that all parts have as many digits
    padded = alphabet[0] * (-len(bare) % _TOGETHER) + bare
    parts = []
    for start in range(0, len(padded), _TOGETHER):
        value = 0
        for place in _places(padded[start : start + _TOGETHER], alphabet):
            value = value * len(alphabet) + place
        parts.append(value)
    # by pairs: to add one digit after the other would take time by the square of their number
    power = len(alphabet) ** _TOGETHER
    while len(parts) > 1:
        parts = [0] * (len(parts) % 2) + parts
        parts = [high * power + low for high, low in zip(parts[::2], parts[1::2], strict=True)]
        power *= power
    value = parts[0] if parts else 0
    return bytes(len(digits) - len(bare)) + value.to_bytes((value.bit_length() + 7) // 8)


def _of_base45(digits: str) -> bytes:
    whole = bytearray()
    for start in range(0, len(digits), 3):
        places = list(_places(digits[start : start + 3], _BASE45))
        value = sum(place * 45**power for power, place in enumerate(places))
        if len(places) == 1:
            raise ValueError(digits)
        try:
            whole += value.to_bytes(len(places) - 1)
        except OverflowError as error:
            raise ValueError(digits) from error
    return bytes(whole)
