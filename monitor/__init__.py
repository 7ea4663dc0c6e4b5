"""What happened, and is it still right?

The monitor reads every served prediction from the stream, stores it, tests drift, joins labels
that come late, watches quality and calibration, raises alerts and gives the registry the evidence
for its decisions.

It calls Redis (stream) and registry (baseline profiles). Redis away: events wait in the spools of
inference. Registry away: known baselines go on being used.
"""
