"""Tests of `flows/jobs`."""
