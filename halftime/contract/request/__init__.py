"""The request: everything a client can ask for."""
