"""``python -m inference``"""

from inference.app import make_app
from inference.settings import InferenceSettings
from kit import serve
from kit.logs import configure

if __name__ == "__main__":
    settings = InferenceSettings()
    configure("inference", settings.log_level)
    serve.run(make_app(settings), settings)
