"""The worker process: claims benchmarks, runs them, stores reports. The only room that uses the database."""
