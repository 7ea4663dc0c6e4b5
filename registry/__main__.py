"""``python -m registry``."""

from kit.logs import configure
from kit.serve import run
from registry.app import build
from registry.settings import RegistrySettings


def main() -> None:
    """Read the settings once, then serve until stopped."""
    settings = RegistrySettings()
    configure("registry", settings.log_level)
    run(build(settings), settings)


if __name__ == "__main__":
    main()
