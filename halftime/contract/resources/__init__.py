"""The resources of the API besides reports: benchmarks, sweeps, workers, keys, problems."""
