"""The program `ceramic-order`: runs the command line in `flows.cli`.

It stands next to our packages because their names are common ones: only a module whose name nobody
else has can say that another package hides them.
"""

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

OURS = ("flows", "connectors", "operators")
"""The packages next to this module, wherever they are installed."""

CANNOT_START = 2
DEFECT = 70


class _HiddenError(ImportError):
    """A package of ours is hidden by another one."""


def main() -> NoReturn:
    """Run the command line, deaf to no signal from the first moment on."""
    try:
        _require_our_packages()
        from flows.terminal.signals import take_over_signals  # noqa: PLC0415 # may be hidden

        take_over_signals()
        from flows.cli.main import main as command_line  # noqa: PLC0415 # loading it takes 70 ms
    except (Exception, SystemExit) as cause:  # noqa: BLE001 # nothing passes this
        _end_early(cause)
    command_line()


def _require_our_packages() -> None:
    """Check that our packages are not hidden by others of the same names.

    Raises:
        _HiddenError: one is.
    """
    here = Path(__file__).resolve().parent
    for name in OURS:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != here / name / "__init__.py":
            where = found or "a folder without code, or nothing"
            raise _HiddenError(
                f"the package `{name}` of ceramic-order is hidden by another one, `{where}`"
            )


def _end_early(cause: BaseException) -> NoReturn:
    """Say why nothing can even be loaded. This uses as little as possible: much is missing."""
    text, code = f"Can't start: {cause}. Nothing was changed.", DEFECT
    if isinstance(cause, _HiddenError):
        advice = "Install ceramic-order in an environment of its own, and unset PYTHONPATH."
        text, code = f"{text} {advice}", CANNOT_START
    else:
        with suppress(BaseException):  # this may be missing too
            from flows.terminal.unforeseen import error_for  # noqa: PLC0415

            error = error_for(cause)
            text, code = str(error), error.exit_code
    os.write(2, f"Error: {text}\n".encode(errors="backslashreplace"))
    os._exit(code)


if __name__ == "__main__":
    main()
