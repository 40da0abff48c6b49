"""Periodic maintenance of the database: the reaper for lost benchmarks, and retention."""
