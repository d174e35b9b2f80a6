"""Traces on disk: the one dictionary of a Trace, the run folder, resume, provenance."""
