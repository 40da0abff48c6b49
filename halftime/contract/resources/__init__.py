"""The other resources of the API: benchmarks, sweeps, workers, keys, problems."""
