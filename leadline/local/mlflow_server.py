"""MLflow's own server, in one process, on a socket that the supervisor passed.

``mlflow server`` imports everything twice, once to read its arguments and once in the child that
serves, and binds by itself, when the port may be gone. This starts the same application with the
same settings (the names are MLflow's own constants; the version is pinned by the lock file).
"""

import os
import socket
import sys
from pathlib import Path

import uvicorn

from registry.adapters.connection_mlflow import ARTIFACT_ROOT, create_database


def main(folder: Path, listen_fd: int) -> None:
    """Serve the experiments and models kept in ``folder`` until told to stop."""
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.server import constants

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    create_database(uri)  # not at somebody's first request, beside the registry's own first call
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = ARTIFACT_ROOT
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / "artifacts")
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    config = uvicorn.Config("mlflow.server.fastapi_app:app", log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listen_fd)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
