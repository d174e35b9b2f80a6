"""The small model that ships: its lessons, its cold start, its shape."""
