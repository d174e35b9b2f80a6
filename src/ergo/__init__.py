"""ERGO: ask vision-language models about pictures too large to look at all at once."""

__version__ = "0.1.0"
