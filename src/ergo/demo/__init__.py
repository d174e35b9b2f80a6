"""Three questions about three bundled pictures, for `make demo`."""
