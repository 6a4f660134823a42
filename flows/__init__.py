"""The dataflows and the command line."""
