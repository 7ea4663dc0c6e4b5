"""``python -m feature_store``."""

from feature_store.app import build
from feature_store.settings import FeatureStoreSettings
from kit.logs import configure
from kit.serve import run


def main() -> None:
    """Read the settings once, then serve until stopped."""
    settings = FeatureStoreSettings()
    configure("feature_store", settings.log_level)
    run(build(settings), settings)


if __name__ == "__main__":
    main()
