"""Tests of what the node's own ordering promises."""
