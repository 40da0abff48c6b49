"""Keeps the database in order: benchmarks whose worker is gone, and retention."""
