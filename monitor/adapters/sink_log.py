"""Notices in the structured log."""

from kit.logs import get_logger
from monitor.ports import Notice

_log = get_logger(__name__)


class LogSink:
    """Port ``Sink``: always there."""

    name = "log"

    async def send(self, notice: Notice) -> None:
        """One line; never fails."""
        _log.warning(
            "alert", severity=notice.severity, status=notice.status, title=notice.title,
            text=notice.text,
        )  # fmt: skip
