"""Tests of the pure steps."""
