"""Halftime's service: validates, stores, enqueues and serves benchmarks. Never imports torch."""
