"""One function for each command, and what runs a flow for it."""
