"""The models that clients, the app and the worker share: pydantic only, no I/O, no torch."""
