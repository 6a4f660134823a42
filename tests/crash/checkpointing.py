"""The miniature where each batch counts as one whose rows lie close together: a checkpoint follows.

How close the rows of a batch really lie depends on what has been read when it is cut.
"""

from dataclasses import replace

from flows.cli.main import main
from tests.crash import miniature

DEFAULTS = replace(miniature.DEFAULTS, sink=replace(miniature.DEFAULTS.sink, dense_share=0.0))

if __name__ == "__main__":
    main(DEFAULTS)
