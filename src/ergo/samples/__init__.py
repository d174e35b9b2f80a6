"""One question with its truth, and its readers."""
