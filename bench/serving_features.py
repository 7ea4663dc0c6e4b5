"""The feature definitions of the serving benchmark: ten online features of a user."""

from datetime import timedelta

from shared_features import Entity, FeatureService, FeatureView, Source

ONLINE = 10
REQUEST = 10

user = Entity("user", keys={"user": "string"})
facts = Source(
    "user_facts",
    columns={"user": "string", **{f"f{i}": "float64" for i in range(ONLINE)}},
    availability_lag=timedelta(0),
)
user_facts = FeatureView(
    "user_facts", entity=user, source=facts, features={f"f{i}": "float64" for i in range(ONLINE)}
)
speed = FeatureService("speed", refs=[f"user_facts:f{i}" for i in range(ONLINE)])
