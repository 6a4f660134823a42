"""Tests of clusters: real processes, and how they meet."""
