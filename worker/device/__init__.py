"""The device: detection, lock, health, and what is sampled of it while a trial runs."""
