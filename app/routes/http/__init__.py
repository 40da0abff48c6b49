"""HTTP mechanics that routes share: authentication, cross-site checks, ETags, long polling, negotiation, parameters."""
