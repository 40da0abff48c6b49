"""Architectures of the `transformers` library at toy size: all that are offered, and some that users asked for."""
