"""Code shared by tests and benchmarks: simulated fleets, fault injection, generated requests, first contact, images."""
