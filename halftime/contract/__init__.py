"""The vocabulary that clients, the app and the worker share: pydantic models only, no I/O, no torch."""
