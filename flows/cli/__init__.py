"""One module for each command; `flows.cli.main` loads the one that is asked for."""
