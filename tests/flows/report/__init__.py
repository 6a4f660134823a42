"""Tests of `flows/report`."""
