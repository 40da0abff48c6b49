"""Background tasks of the API processes: webhooks and maintenance."""
