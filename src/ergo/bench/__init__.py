"""Timing direct and two-look flows against the floor."""
