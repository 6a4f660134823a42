"""The verifier finds each kind of damage by the rule that it breaks, and nothing else."""
