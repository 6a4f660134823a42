"""What a run did, as numbers, as files and as a page."""
