"""The state of a running benchmark: `reducer` turns events and progress into a `state`, `standing` watches one."""
