"""Which trial runs next and when it is enough: blocks, estimates, the time budget, capacity."""
