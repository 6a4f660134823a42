"""Tests of everything that touches files."""
