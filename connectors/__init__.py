"""Everything that touches files: the database, the partitioned source, the sinks."""
