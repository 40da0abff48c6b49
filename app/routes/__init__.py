"""HTTP: one thin file per resource. Parse, call the store, shape the answer."""
