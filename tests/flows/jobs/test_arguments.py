"""What Bytewax's command line gives a flow: a sentence says what can't be used."""

import re

import pytest
from bytewax import run as runner

from connectors.errors import CannotStartError


def locate(flow: str) -> object:
    """Do what Bytewax's runner does with the name of a flow."""
    module, _, name = flow.partition(":")
    return runner._locate_dataflow(module, name)  # type: ignore[no-untyped-call] # noqa: SLF001


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ("order:get_flow()", "`get_flow` can't be called like this: missing a required argument"),
        ("order:get_flow('a.db', partition=3)", "an unexpected keyword argument `partition`. Noth"),
        (
            "order:get_flow('a.db', 3)",
            "too many positional arguments. Nothing was changed. It take",
        ),
        ("replay:get_flow('a.db')", "missing a required argument: `out`. Nothing was changed. It "),
        ("order:get_flow(5)", "`database=5` can't be used: it must be a path, between quotes"),
        ("order:get_flow('')", "`database=''` can't be used: it must be a path, between quotes"),
        (r"order:get_flow('a\0')", r"`database='a\x00'` can't be used: it must be a path, betwee"),
        (
            "replay:get_flow('a.db', '')",
            "`out=''` can't be used: it must be a path, between quotes",
        ),
        ("order:get_flow('a.db', check_node='no')", "it must be `True` or `False`. Nothing was"),
        ("order:get_flow('a.db', check_node=None)", "`check_node=None` can't be used: it must be"),
        ("order:get_flow('a.db', partitions=257)", "it must be a whole number from `1` to `256`"),
        ("order:get_flow('a.db', batch_rows=True)", "`batch_rows=True` can't be used: it must be"),
        ("order:get_flow('a.db', shards=0)", "it must be a whole number from `1` to `4096`. Not"),
        (
            "order:get_flow('a.db', wait_seconds=0)",
            "it must be a number above `0`, at most `86400`",
        ),
        ("order:get_flow('a.db', wait_seconds=1e999)", "`wait_seconds=inf` can't be used: it must"),
        ("order:get_flow('missing.db', partitions=None)", "Can't open `missing.db`: No such file"),
        ("replay:get_flow('missing.db', 'log')", "Can't open `missing.db`: No such file"),
    ],
)
def test_what_a_flow_can_not_be_given_is_said(flow: str, said: str) -> None:
    with pytest.raises(CannotStartError, match=re.escape(said)):
        locate(f"flows.{flow}")
