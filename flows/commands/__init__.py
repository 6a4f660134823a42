"""One module for each command of the command line; `flows.cli` loads the one that is asked for."""
