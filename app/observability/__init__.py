"""Logs, metrics and traces, and how a process ends."""
