"""Pure steps on Arrow batches: decode and order. No files, no SQLite."""
