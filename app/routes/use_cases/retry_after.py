"""The Retry-After of a benchmark: when its client should ask again."""

#: Seconds until the next poll, by status. A benchmark that has ended has none.
POLL_SECONDS = {"queued": 2, "running": 2, "cancelling": 1}
