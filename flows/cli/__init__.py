"""One module for each command of the command line; `flows.cli.main` loads the one that is asked for."""
