"""Whatever the services' OpenAPI documents allow, and whatever they do not: never a 5xx.

The last of this folder: what is generated may change anything on the platform.
"""

import httpx
import pytest

from contracts.identity import SERVICE_TOKEN_HEADER
from leadline.state import StateDir
from tests.openapi import attack


@pytest.mark.parametrize("service", ["inference", "registry", "feature_store", "monitor"])
def test_no_generated_request_is_a_server_error(platform: StateDir, service: str) -> None:
    url = platform.read_endpoints()[service]
    headers = {SERVICE_TOKEN_HEADER: (platform.root / "service_token").read_text().strip()}
    document = httpx.get(f"{url}/openapi.json", headers=headers, trust_env=False).json()
    tried = attack(url, document, headers, examples=20)
    assert tried > {"GET /healthz", "GET /readyz"}
