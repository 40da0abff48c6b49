"""HTTP mechanics that routes share: authentication, ETags, long polling, idempotency, negotiation."""
