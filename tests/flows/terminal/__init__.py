"""Tests of what a person sees and presses."""
