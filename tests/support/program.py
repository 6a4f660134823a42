"""Starts the program as a user does."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
