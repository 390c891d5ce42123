"""The story that `make demo` plays: a client of the public API, which knows nothing of the inside."""
