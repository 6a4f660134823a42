"""The command line without keeping other programs out, as where locks do not hold."""

from connectors.claim import ClaimSettings
from flows.cli.main import main
from flows.jobs.options import RunOptions

if __name__ == "__main__":
    main(RunOptions(claim=ClaimSettings(keep_out=False)))
