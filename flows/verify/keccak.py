"""Keccak-256 as Ethereum uses it, which is not SHA3-256: the padding differs, so hashlib does not have it.

Only `verify --hashes` needs it, for the rare block under a keccak-256 multihash; a block of 1 kB
takes about a millisecond.
"""

from itertools import product

_RATE = 136
"""Bytes absorbed a round: 1,600 bits of state less twice the 256 bits of the digest."""
_LANE = (1 << 64) - 1
_ROUNDS = 24


def _rotate(lane: int, bits: int) -> int:
    return (lane << bits % 64 | lane >> -bits % 64) & _LANE


def _round_constants() -> list[int]:
    """The constants of step iota, from the 8-bit linear feedback register that defines them."""
    constants, register = [], 1
    for _ in range(_ROUNDS):
        constant = 0
        for power in range(7):
            constant |= (register & 1) << ((1 << power) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


def _lane_moves() -> list[tuple[int, int, int]]:
    """Steps rho and pi: which lane goes where, turned by how many bits; lane `x + 5 * y` stands at column x, row y."""
    moves, (x, y) = [(0, 0, 0)], (1, 0)
    for turn in range(24):
        to_x, to_y = y, (2 * x + 3 * y) % 5
        moves.append((x + 5 * y, to_x + 5 * to_y, (turn + 1) * (turn + 2) // 2))
        x, y = to_x, to_y
    return moves


_CONSTANTS = _round_constants()
_MOVES = _lane_moves()


def _permute(state: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        columns = [
            state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]
            for x in range(5)
        ]
        mixed = [columns[(x - 1) % 5] ^ _rotate(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * 25
        for origin, target, bits in _MOVES:
            moved[target] = _rotate(state[origin] ^ mixed[origin % 5], bits)
        state = [0] * 25
        for x, y in product(range(5), range(0, 25, 5)):
            state[x + y] = moved[x + y] ^ ~moved[(x + 1) % 5 + y] & moved[(x + 2) % 5 + y]
        state[0] ^= constant
    return state


def keccak_256(message: bytes) -> bytes:
    """The 32-byte digest of a message of any length."""
    padded = bytearray(message) + bytes(_RATE - len(message) % _RATE)
    padded[len(message)] ^= 0x01
    padded[-1] ^= 0x80
    state = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            state[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        state = _permute(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])
