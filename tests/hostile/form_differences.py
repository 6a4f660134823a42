"""Where `run` or `verify` do not give a node's answer."""

NOT_YET: dict[str, str] = {
    "keys of a payload out of order": "n-v",
    "data is -0.0": "n-v",
    "data is keys out of order": "n-v",
    "data is keys in the order of their bytes": "n-v",
    "data is a key that is a byte string": "n-v",
    "time prev is a link": "n--",
    "time path is a text": "n--",
    "path whose last index leads astray to `x`": "n--",
    "path whose last index leads astray to `0`": "n--",
    "path whose last index leads astray to `2`": "n--",
    "path whose last index leads astray to `99999999999999999999`": "n--",
    "path of 71 indices": "n-v",
}
"""By the name of a form: who takes it (n: a node, r: `run`, v: `verify`). To be mended."""

DIFFERENCES: dict[str, tuple[bool, bool, bool]] = {
    name: ("n" in takes, "r" in takes, "v" in takes) for name, takes in NOT_YET.items()
}
"""By the name of a form, whether a node, `run` and `verify` take it."""
