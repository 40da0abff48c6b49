"""Halftime's worker: owns one device, runs one benchmark at a time, every trial in a fresh process."""
