"""Where a feature value came from: the same codes offline, online and in the served log."""

from contracts.served import STATUSES

PRESENT = STATUSES.index("PRESENT")
NULL_VALUE = STATUSES.index("NULL_VALUE")
NOT_FOUND = STATUSES.index("NOT_FOUND")
OUTSIDE_MAX_AGE = STATUSES.index("OUTSIDE_MAX_AGE")
UNAVAILABLE = STATUSES.index("UNAVAILABLE")
