"""The loading thread is nice; the others are not."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference.adapters.low_priority import NICENESS, lower_priority


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads are as nice as the process")
def test_only_the_thread_that_lowers_its_priority_yields() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=lower_priority) as executor:
        assert executor.submit(niceness).result(10) == max(before, NICENESS)
    assert niceness() == before
