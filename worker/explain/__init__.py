"""Explains a speedup: what a device can do at most, where the time of a step goes, and what to change."""
