"""Tests of the verifier: it must find each kind of damage, by the rule that it breaks, and nothing where nothing is broken."""
