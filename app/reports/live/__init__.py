"""The state of a running benchmark, put together from its events."""
