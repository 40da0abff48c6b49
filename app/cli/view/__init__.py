"""Terminal output: benchmarks, lists and progress."""
