"""Real processes, what is done to them, and what must hold of the database afterwards."""
