"""Reports in the format that a client asks for, cached."""
