"""The device: detection, lock, health checks, and telemetry during a trial."""
