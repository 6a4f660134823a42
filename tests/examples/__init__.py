"""Tests of what the tutorials bring along."""
