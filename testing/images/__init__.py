"""Builds the images and runs them on an engine: `make images`. Tests without an engine: `tests/test_container.py`."""
