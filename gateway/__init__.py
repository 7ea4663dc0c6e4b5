"""Who may ask, how much, and is the question well formed?

The gateway authenticates every request, spends the caller's rate limit, validates the envelope of
a prediction and hands it to an inference replica together with whatever else arrived in the same
turn of the event loop. Everything else it forwards by prefix to the service that owns it.

It calls inference (frames), registry, feature_store and monitor (HTTP) and Redis (limits, keys).
Inference away: 503 at once with Retry-After. Redis away: limits are local shares, keys come from
the snapshot on disk. Another service away: 503 for that prefix only.
"""
