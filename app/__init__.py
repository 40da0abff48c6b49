"""Halftime's service: validates, stores, enqueues and serves benchmarks. Never imports torch."""

__version__ = "0.1.0"
