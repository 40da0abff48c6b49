"""Benchmarks on a simulated fleet."""
