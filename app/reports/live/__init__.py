"""State of a running benchmark: `reducer` applies events and progress to a `state`; `benchmark` holds a watched one."""
