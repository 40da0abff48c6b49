"""Real processes, the faults injected into them, and the invariants of the database afterwards."""
