"""Which versions exist, who put them there, and which take traffic?

The registry owns model versions (over MLflow), the routing table, rollouts and the audit log:
every change is a deliberate, judged, reversible and logged act.

It calls MLflow, its database and monitor (evidence). MLflow away: versions and aliases are mirrored
later, everything else goes on. Monitor away: rollouts hold with frozen weights and say so.
"""
