"""Databases that a real node wrote; they lie beside a checkout of the developers and nowhere else."""

from tests.support.program import ROOT

SNAPSHOTS = ROOT.parent / "shared" / "snapshots"
