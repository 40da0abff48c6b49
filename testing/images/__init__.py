"""Builds the images and runs them on a real engine: `make images`. What needs none is in `tests/test_container.py`."""
