"""Which version answers, and what does it say?

Inference receives whatever the gateway sent in one event-loop turn, routes every row by the
registry's table, looks its features up (``feature_store.online`` on Redis), runs one ONNX Runtime
call a version, records what it is about to say, and answers.

When others are away: the registry — the last good table and the models on disk go on serving;
Redis — every feature follows its declared policy and the answer names what was degraded, served
events wait in the spool; the gateway — nobody asks. Callers see ``model-unavailable`` only for a
model that was never loaded here.
"""
