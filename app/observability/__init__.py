"""Logs, metrics, traces, and the exit of processes."""
