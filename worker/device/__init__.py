"""The device and its machine: detection, lock, health checks, telemetry during a trial, and the compiler's caches."""
