"""How the terminal shows benchmarks, lists and progress."""
