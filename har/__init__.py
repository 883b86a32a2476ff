"""A reproducible laboratory for human action recognition.

`import har` loads nothing else. The public names load when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from har.nn.model_files import load_model
    from har.predictor.live import Stream
    from har.predictor.prediction import Action, Prediction
    from har.predictor.recogniser import Recogniser

    __version__: str

_MODULES = {
    "Action": "har.predictor.prediction",
    "Prediction": "har.predictor.prediction",
    "Recogniser": "har.predictor.recogniser",
    "Stream": "har.predictor.live",
    "load_model": "har.nn.model_files",
}
__all__ = ["Action", "Prediction", "Recogniser", "Stream", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("har-lab")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
