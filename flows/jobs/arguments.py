"""What the function of a flow is given on Bytewax's command line, checked before it runs."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, get_args

from bytewax.dataflow import Dataflow

from connectors.errors import CannotStartError
from flows.jobs.invocation import refusals_shown

Given = ParamSpec("Given")

MOST_PARTITIONS = 256
"""Readers of one process: each is a thread with a connection."""
MOST_BATCH_ROWS = 10_000_000
"""Events of one transaction."""
MOST_SHARDS = 4096
"""Keys of Bytewax: each page of events is cut into so many batches."""
MOST_SECONDS = 86_400
"""For which processes wait for each other: a day."""

_MOST = {
    "partitions": MOST_PARTITIONS,
    "shards": MOST_SHARDS,
    "batch_rows": MOST_BATCH_ROWS,
    "wait_seconds": MOST_SECONDS,
}


def checked(get_flow: Callable[Given, Dataflow]) -> Callable[Given, Dataflow]:
    """Refuse with a sentence what a function of this signature can't be called with.

    Bytewax would show a traceback, or the value would be used for something else. Its types may be
    `str`, `Path`, `bool`, `int` and `float`; numbers stand in `_MOST`.
    """
    signature = inspect.signature(get_flow)

    @wraps(get_flow)
    def with_checked(*args: Given.args, **kwargs: Given.kwargs) -> Dataflow:
        with refusals_shown():
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError as cause:
                raise CannotStartError(
                    f"`{get_flow.__name__}` can't be called like this",
                    why=str(cause).replace("'", "`"),
                    advice=f"It takes `{_names(signature)}`.",
                ) from cause
            for name, value in given.arguments.items():
                _require(name, value, signature.parameters[name].annotation)
            return get_flow(*args, **kwargs)

    return with_checked


def _names(signature: inspect.Signature) -> str:
    """The signature without types."""
    plain = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(plain))


def _require(name: str, value: object, annotation: object) -> None:
    """Check that a value is of one of these types, and in range.

    Raises:
        CannotStartError: it is not.
    """
    kinds = get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return
    if str in kinds:
        is_right = isinstance(value, str | Path) and str(value) != "" and "\0" not in str(value)
        wanted = "a path, between quotes"
    elif bool in kinds:
        is_right, wanted = isinstance(value, bool), "`True` or `False`"
    elif int in kinds:
        is_right = type(value) is int and 1 <= value <= _MOST[name]
        wanted = f"a whole number from `1` to `{_MOST[name]}`"
    else:
        is_right = type(value) in {int, float} and 0 < float(str(value)) <= _MOST[name]
        wanted = f"a number above `0`, at most `{_MOST[name]}`"
    if not is_right:
        raise CannotStartError(f"`{name}={value!r}` can't be used", why=f"it must be {wanted}")
