"""The training loop and everything that configures it."""
