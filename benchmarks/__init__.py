"""Benchmarks of Halftime itself: ratios within one run, with a description of the machine."""
