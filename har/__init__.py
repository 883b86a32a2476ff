"""A reproducible laboratory for human action recognition.

`import har` loads nothing else. The public names, typed in `__init__.pyi`, load when they are used.
"""

import importlib

_MODULES = {
    "Action": "har.predictor.prediction",
    "Prediction": "har.predictor.prediction",
    "Recogniser": "har.predictor.recogniser",
    "Stream": "har.predictor.live",
    "load_model": "har.nn.model_files",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("har-lab")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "__version__"})
