"""What `make bench` measures: the main job against the write alone, both in the same run of the benchmark."""
