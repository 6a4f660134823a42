"""What can stop a command, as errors whose text is the sentence an operator reads.

Every message says what happened with the value in backticks, why, what stayed unchanged, and what
to try next.
"""


class CeramicOrderError(Exception):
    """The command can't go on; `exit_code` is the documented exit code."""

    exit_code = 3


class CannotStartError(CeramicOrderError, ValueError):
    """The input can't be used; nothing has been created or changed."""

    exit_code = 2


class InterruptedRunError(CeramicOrderError, RuntimeError):
    """The run stopped midway; whole batches are kept and running again is safe."""

    exit_code = 3
