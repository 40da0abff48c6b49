"""One trial: the process, what it runs, and the checks before it."""
