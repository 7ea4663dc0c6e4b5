"""``python -m monitor``."""

from kit.logs import configure
from kit.serve import run
from monitor.app import build
from monitor.settings import MonitorSettings


def main() -> None:
    """Serve until stopped."""
    settings = MonitorSettings()
    configure("monitor", settings.log_level)
    run(build(settings), settings)


if __name__ == "__main__":
    main()
