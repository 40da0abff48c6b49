"""What tests and benchmarks share: simulated fleets, fault injection, recorded requests, the first-contact record."""
