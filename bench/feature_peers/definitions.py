"""The benchmark's features, as Leadline defines them."""

from datetime import timedelta

from bench.feature_peers.data import FEATURES
from shared_features import Catalogue, Entity, FeatureView, Source

USER = Entity("user", {"user": "int64"})
SOURCE = Source(
    "facts", {"user": "int64", **dict.fromkeys(FEATURES, "float64")}, availability_lag=timedelta(0)
)
VIEW = FeatureView(
    "stats", USER, dict.fromkeys(FEATURES, "float64"), SOURCE, max_age=timedelta(days=365 * 20)
)
REFS = [f"stats:{name}" for name in FEATURES]


def catalogue() -> Catalogue:
    """The one view."""
    return Catalogue([VIEW])
