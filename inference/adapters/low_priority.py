"""Work that serving must not wait for gets the processor when nobody else wants it."""

import os
import sys
import threading

NICENESS = 10


def lower_priority() -> None:
    """Make this thread yield to others, for good: where only the process can be nice, not at all.

    What a thread starts is as nice as itself.
    """
    if sys.platform == "linux":  # elsewhere the number would name a process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
