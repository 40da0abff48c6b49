"""The order of trials, the stopping rule, estimates, the time budget, and the search for the largest batch."""
