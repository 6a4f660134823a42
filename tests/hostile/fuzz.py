"""A target for the fuzzer atheris: any root block and payload, alone and in a batch.

python -m tests.hostile.fuzz CORPUS -runs=1000000
"""

import sys
from importlib import import_module

from operators.encoding.cid import multihash
from operators.encoding.envelope import payload_multihash
from operators.encoding.layouts import read_alike
from operators.encoding.readable import is_beyond_node
from operators.event import read_event
from tests.hostile.test_mutants import check_decoders
from tests.support.blocks import Raw, assert_read_row_by_row, envelope, valid


def read_any(content: bytes) -> None:
    """Read a block as a root, and as a payload next to a valid event."""
    if content:
        check_decoders(content)
        payload_multihash(content)
        assert_read_row_by_row([Raw(content), valid()[3], Raw(envelope(content), content)])


if __name__ == "__main__":
    atheris = import_module("atheris")
    for function in (read_event, is_beyond_node, read_alike, multihash):
        # the fuzzer keeps inputs that lead it to new places in these
        atheris.instrument_func(function)
    atheris.Setup(sys.argv, read_any)
    atheris.Fuzz()
