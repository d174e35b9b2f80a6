"""Timing direct and two-look flows against the roofline."""
