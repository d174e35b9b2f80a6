"""The names of this machine, for whoever must know whether an address leaves it."""

LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
"""As a URL's host and as a Host header write them: IPv6 stands without brackets in one, with them in the other."""
