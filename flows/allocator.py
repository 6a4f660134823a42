"""The allocator of the C library, for a process whose memory has to stay flat for weeks."""

import ctypes

M_MMAP_THRESHOLD = -3
"""Of glibc's `malloc.h`."""

LARGE_BYTES = 256 * 1024
"""A piece of memory from which on it is the system's again as soon as it is free."""


def give_back_large_pieces() -> None:
    """Keep large pieces of memory apart from small ones, for the rest of the process.

    glibc would raise that limit to 32 MB. Then what a batch took lies between what stays, and is
    never given back: following for 25 minutes took 138 MB, and 60 MB like this. Elsewhere than with
    glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
