"""Tests of `flows/synth`."""
