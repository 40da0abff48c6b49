"""The training loop and its parts: optimizers, schedule, clock, memory, precision, compilation."""
