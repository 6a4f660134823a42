"""A run and the verifier were written apart: what the one does, the other finds right."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from flows.verify.verify import verify
from tests.support.job import deliver
from tests.support.strategies import Forest, forests


@settings(max_examples=20, deadline=None)
@given(forests())
def test_what_a_run_delivers_breaks_no_rule(forest: Forest) -> None:
    with TemporaryDirectory() as folder:
        database = forest.store(Path(folder) / "db")
        baseline = Path(shutil.copy(database, Path(folder) / "baseline"))
        deliver(database)
        verification = verify(database, baseline=baseline)
        assert verification.failed == set(), [
            finding for finding in verification.findings if finding.violations
        ]
