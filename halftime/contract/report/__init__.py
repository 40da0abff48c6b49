"""The report: every figure with its uncertainty and the samples it was derived from."""
