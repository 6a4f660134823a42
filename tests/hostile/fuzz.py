"""A target for the fuzzer atheris: any root block and payload are read, alone and in a batch, and both decoders agree.

python -m tests.hostile.fuzz -runs=1000000
"""

import sys
from importlib import import_module

from operators.decode import payload_multihash
from tests.hostile.test_mutants import check_decoders
from tests.operators.blocks import Raw, assert_read_row_by_row, envelope, valid


def read_any(content: bytes) -> None:
    """Read a block as a root, and as a payload beside a valid event."""
    if content:
        check_decoders(content)
        payload_multihash(content)
        assert_read_row_by_row([Raw(content), valid()[3], Raw(envelope(content), content)])


if __name__ == "__main__":
    atheris = import_module("atheris")
    atheris.Setup(sys.argv, read_any)
    atheris.Fuzz()
