"""The client: what the command line, the demo and a user's script call the platform with."""

from types import TracebackType
from typing import Any, Self

import click
import httpx

from leadline.state import StateDir


class ProblemError(click.ClickException):
    """The platform answered with a problem; ``code`` is its stable name, ``body`` all of it."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.body = body
        self.code = str(body.get("code", "")) or str(status)
        said = body.get("detail") or body.get("error") or body.get("title") or "no reason given"
        super().__init__(f"{said} ({self.code}, HTTP {status}){_where(body.get('errors'))}")


class PlatformAwayError(click.ClickException):
    """Nothing answers at the gateway's address."""


class Client:
    """One platform, by the URL of its gateway and an API key.

    Every call raises ``ProblemError`` for a problem and ``PlatformAwayError`` when nothing answers.
    """

    def __init__(self, base_url: str, api_key: str, timeout_s: float = 30.0) -> None:
        self.base_url = base_url
        self._http = httpx.Client(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=timeout_s,
            trust_env=False,
        )

    @classmethod
    def from_state(cls, state: StateDir, key: str = "admin_key", timeout_s: float = 30.0) -> Self:
        """The client of the platform that runs in ``state``."""
        url = state.read_endpoints()["gateway"]
        return cls(url, state.read_credentials()[key], timeout_s)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request (``options`` are httpx's) and return the successful response."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError:
            message = f"Nothing answers at {self.base_url}: is the platform up? (leadline status)"
            raise PlatformAwayError(message) from None
        except httpx.TimeoutException:
            message = f"No answer from {self.base_url}{path} in time."
            raise PlatformAwayError(message) from None
        except httpx.TransportError as error:
            raise PlatformAwayError(f"The connection to {self.base_url} broke: {error}") from None
        except (httpx.InvalidURL, ValueError) as error:  # a line break in a name, a NaN in a body
            raise click.ClickException(f"This cannot be asked: {error}.") from None
        if response.is_error:
            raise ProblemError(response.status_code, _json_object(response))
        return response

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that ``GET path`` answers."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.send("GET", path, params=given).json()

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON that ``POST path`` answers to the JSON ``body``."""
        response = self.send("POST", path, json=body, **options)
        return response.json() if response.content else None

    def predict(
        self, model: str, instances: list[dict[str, Any]], *, explain_features: bool = False
    ) -> dict[str, Any]:
        """``POST /predict``: one prediction an instance, in order."""
        params = {"explain_features": "true"} if explain_features else {}
        body = {"model": model, "instances": instances}
        answer = self.post("/predict", body, params=params)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _where(errors: Any) -> str:  # a member of a problem's body
    """The places that a problem names, a line each."""
    listed = errors if isinstance(errors, list) else []
    told = (error for error in listed if isinstance(error, dict))
    return "".join(f"\n  {error.get('pointer') or '/'}: {error.get('code', '')}" for error in told)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = {"detail": response.text[:200]}
    return body if isinstance(body, dict) else {"detail": str(body)[:200]}
