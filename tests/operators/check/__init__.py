"""Tests of `operators/check`."""
