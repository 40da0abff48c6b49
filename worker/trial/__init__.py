"""The trial process: inspection, device probe, and the run of one trial."""
