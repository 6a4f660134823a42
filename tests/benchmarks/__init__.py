"""What `make bench` measures: the main job against the write alone, in turn."""
