"""Which version answers, and what does it say?

For a whole batch at once: route every row, look up its features, run each model version once,
post-process, put the served event on disk, answer.

It calls Redis (features, stream) and registry (routing table, artifacts). Redis away: features
follow their declared policy and the answer says so; served events wait in the spool. Registry
away: the last good table and models from disk go on serving.
"""
