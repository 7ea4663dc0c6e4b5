"""What do we know about this entity, as of when, how fresh?

One append-only log of feature rows and two idempotent appliers of it: Parquet for training,
Redis for serving; the same values by bits, whichever side is asked.

It calls Redis. Redis away: pushes are still logged and applied later; look-ups answer 503. Redis
full: pushes likewise; look-ups answer with what it has.
"""
