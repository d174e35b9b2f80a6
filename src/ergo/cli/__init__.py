"""The verbs of `ergo`; the only place that prints."""
