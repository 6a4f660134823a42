"""Synthetic databases: the tables of a ceramic-one node with synthetic events in them."""
