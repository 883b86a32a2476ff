"""A reproducible laboratory for human action recognition.

`import har` loads nothing else. The public names load when they are first used.
"""

import importlib
from typing import Any

_MODULES = {"Recogniser": "har.predictor.recogniser", "load_model": "har.nn.model_files"}
__all__ = ["Recogniser", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("har-lab")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
