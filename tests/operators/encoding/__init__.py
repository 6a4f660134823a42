"""Tests of `operators/encoding`."""
