"""Experiment trackers: what a report becomes in them, and the process in which their libraries run."""
