"""Figures from earlier benchmarks and workers: estimated costs, warnings before a run, totals for metrics."""
