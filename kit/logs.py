"""Structured logs for rare events: JSON lines on stderr, an event name and fields.

What happens on every request is a metric, not a log line.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger

Logger = FilteringBoundLogger


def configure(service: str, level: str = "INFO") -> None:
    """Set up logging of this process: ours and the libraries', in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "uvicorn.access", "alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get_logger(name: str) -> Logger:
    """A logger bound to ``name`` (by custom, the module)."""
    return cast("Logger", structlog.get_logger(name))


class LineBudget:
    """So many lines a second at most: for lines that a caller can ask for."""

    def __init__(
        self, lines_per_s_max: int, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._lines_per_s_max = lines_per_s_max
        self._monotonic_ns = monotonic_ns
        self._second = -1
        self._left = 0

    def take(self) -> bool:
        """Whether one more line may be written now; counts it."""
        second = self._monotonic_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._left = second, self._lines_per_s_max
        self._left -= 1
        return self._left >= 0
