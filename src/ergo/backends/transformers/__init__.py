"""A checkpoint in this process."""
