"""The worker process: claims benchmarks, runs them, stores reports. Only this package uses the database."""
