"""The health check of a container: exit 0 when the service on LEADLINE_PORT says it is ready."""

import os
import sys
from urllib.request import urlopen

url = f"http://127.0.0.1:{os.environ['LEADLINE_PORT']}/readyz"  # noqa: TID251 - not a service
try:
    with urlopen(url, timeout=3) as answer:
        sys.exit(answer.status != 200)
except OSError as error:  # a refusal, a time-out, and every status from 400 up
    sys.exit(str(error))
