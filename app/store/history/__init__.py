"""Figures from finished benchmarks: rough costs, warnings before a run, totals for metrics."""
