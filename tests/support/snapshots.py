"""Databases that a real node wrote; they are next to a developer's checkout, nowhere else."""

from tests.support.program import ROOT

SNAPSHOTS = ROOT.parent / "shared" / "snapshots"
