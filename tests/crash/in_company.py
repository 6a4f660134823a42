"""The command line without keeping other programs out, as the process of a cluster that writes."""

from functools import partial

from ceramic_order import main
from connectors.claim import claim
from flows.jobs import run

if __name__ == "__main__":
    vars(run)["claim"] = partial(claim, keep_out=False)
    main()
