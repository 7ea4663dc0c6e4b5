"""``python -m gateway``."""

from functools import partial

from gateway.adapters.edge_httptools import EdgeProtocol
from gateway.app import build
from gateway.settings import GatewaySettings
from kit.logs import configure
from kit.serve import run


def main() -> None:
    """Run the gateway until SIGTERM."""
    settings = GatewaySettings()
    configure("gateway", settings.log_level)
    gateway = build(settings)
    run(gateway.app, settings, http=partial(EdgeProtocol, gateway.edge))


if __name__ == "__main__":
    main()
