"""Blocks that somebody made to break whoever reads them."""
